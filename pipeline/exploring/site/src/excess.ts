/** How unusual an image is: its excess in nats, as the bundle's scorer computes it, and its place among usual images. */
import { PIXELS, SIDE } from "./paint";

const SMALLEST = 1e-7; // float32 probabilities nearer to 0 or 1 can't be told from them

/** What score is usual. */
export interface Usual {
  /** How many held-out images it comes from. */
  images: number;
  /** Quantiles of their score, in equal steps of probability from 0 to 1. */
  quantiles: number[];
}

/** The reconstruction's and the latents' part of the excess, which is their sum, in nats; and the score. */
export interface Excess {
  /** The reconstruction's part, by pixel: `[28, 28]`. */
  pixels: Float32Array;
  reconstruction: number;
  kl: number;
  /** The excess over the root of the ink: how unusual the image is. */
  score: number;
}

/**
 * The excess of an image over one that the decoder draws without fault from the prior's mean.
 *
 * `image`: grey levels in [0, 1]; `decoded`: the decoder's image at `mean`; `mean` and `logVar`: of the encoder.
 */
export function excessOf(
  image: ArrayLike<number>,
  decoded: ArrayLike<number>,
  mean: ArrayLike<number>,
  logVar: ArrayLike<number>,
): Excess {
  const pixels = Float32Array.from({ length: PIXELS }, (_, i) => divergence(image[i], decoded[i]));
  let kl = 0; // Kingma & Welling (2013), appendix B
  for (let i = 0; i < mean.length; i++) kl += (Math.exp(logVar[i]) + mean[i] ** 2 - 1 - logVar[i]) / 2;
  const reconstruction = pixels.reduce((sum, value) => sum + value, 0);
  let ink = 0;
  for (let i = 0; i < PIXELS; i++) ink += image[i];
  return { pixels, reconstruction, kl, score: (reconstruction + kl) / Math.sqrt(1 + ink) };
}

/** KL(Bernoulli(x) || Bernoulli(probability)). */
function divergence(x: number, probability: number): number {
  const p = Math.min(Math.max(probability, SMALLEST), 1 - SMALLEST);
  const part = (share: number, of: number) => (share > 0 ? share * Math.log(share / of) : 0);
  return Math.max(0, part(x, p) + part(1 - x, 1 - p)); // rounding may leave it just below 0
}

/** How many of a hundred usual images have a lower score. */
export function percentile({ quantiles }: Usual, score: number): number {
  const above = quantiles.findIndex((value) => value > score);
  if (above <= 0) return above < 0 ? 100 : 0;
  const [low, high] = [quantiles[above - 1], quantiles[above]];
  return (100 * (above - 1 + (score - low) / (high - low))) / (quantiles.length - 1);
}

/** A percentile in words; rounded down, so that an image is never said to be more unusual than it is. */
export function rank(percent: number, { images }: Usual, noun: string): string {
  const all = `all ${images.toLocaleString("en")} held-out ${noun}s`;
  if (percent >= 100) return `More unusual than ${all}`;
  if (percent <= 0) return `More usual than ${all}`;
  return `More unusual than ${(Math.floor(percent * 10) / 10).toFixed(1)} % of held-out ${noun}s`;
}

const NINTHS = [
  ["upper left", "upper middle", "upper right"],
  ["middle left", "middle", "middle right"],
  ["lower left", "lower middle", "lower right"],
];

/** The ninth of the image in which most of the excess lies, and its share of it. */
export function densest(pixels: Float32Array): { where: string; share: number } {
  const sums = new Map<string, number>();
  let all = 0;
  for (const [i, value] of pixels.entries()) {
    const [row, column] = [Math.floor(i / SIDE), i % SIDE].map((place) => Math.floor((place * 3) / SIDE));
    const where = NINTHS[row][column];
    sums.set(where, (sums.get(where) ?? 0) + value);
    all += value;
  }
  const [where, most] = [...sums].reduce((best, ninth) => (ninth[1] > best[1] ? ninth : best));
  return { where, share: all > 0 ? most / all : 0 };
}
