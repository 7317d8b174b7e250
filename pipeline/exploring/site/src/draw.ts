/** Draws pictures of any size in strips, so that no request keeps the worker for long or takes much of its memory. */
import type { Models } from "./models";
import { inked } from "./paint";
import type { View } from "./state";
import { pixelsOf } from "./view";

const STRIP = 2 ** 17; // pixels of one request: what a step makes of them stays in the processor's cache

export interface Strip {
  /** Its first row in the picture. */
  top: number;
  /** Grey levels in [0, 1], `[rows, side]`; 1 is ink. */
  pixels: Float32Array;
  milliseconds: number;
}

/** What of the latents' image is in view, with `side` pixels along each side, strip by strip from the top. */
export async function* strips(
  models: Models,
  z: Float32Array,
  view: View,
  side: number,
  softness: number,
): AsyncGenerator<Strip> {
  const height = Math.max(1, Math.floor(STRIP / side));
  for (let top = 0; top < side; top += height) {
    const asked = pixelsOf(view, side, softness, top, Math.min(top + height, side));
    yield { top, ...(await models.render(z, 1, asked)) };
  }
}

/** The same as one image in a colour; null once `stale` says that nobody wants it any more. */
export async function picture(
  models: Models,
  { z, view, side, softness }: { z: Float32Array; view: View; side: number; softness: number },
  colour: string,
  stale: () => boolean,
): Promise<{ image: ImageData; milliseconds: number } | null> {
  const image = new ImageData(side, side);
  let milliseconds = 0;
  for await (const strip of strips(models, z, view, side, softness)) {
    if (stale()) return null;
    image.data.set(inked(strip.pixels, colour, side).data, strip.top * side * 4);
    milliseconds += strip.milliseconds;
  }
  return { image, milliseconds };
}
