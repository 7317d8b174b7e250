/** Shows how unusual the drawing is: its place among held-out images, its excess in nats, and where that lies. */
import { find, settled } from "./dom";
import { densest, type Excess, percentile, rank } from "./excess";
import { context, describe, paint, SIDE } from "./paint";
import type { Site } from "./site";

/** Nats of a pixel in full colour: of ink to which the decoder gave a probability of 5 %, or of paper at 95 %. */
const FULL = 3;

export class Unusual {
  readonly #map = find<HTMLCanvasElement>("excess");
  readonly #announce = settled(500, () => {
    find("unusual-said").textContent = this.#words;
  });
  #words = "";

  constructor(readonly site: Site) {
    find("ranked").hidden = !site.usual;
    find("full").textContent = `to ${FULL} nats or more`;
  }

  /** `colour`: of a pixel with much excess. */
  show({ pixels, reconstruction, kl, score }: Excess, colour: string): void {
    const { usual, noun } = this.site;
    paint(
      this.#map,
      pixels.map((nats) => Math.min(nats / FULL, 1)),
      colour,
    );
    const all = reconstruction + kl;
    const [total, first, second] = [all, reconstruction, kl].map((nats) => nats.toFixed(1));
    const words = [`Excess ${total} nats: reconstruction ${first}, KL ${second}.`];
    find("nats").textContent = words[0];
    if (usual) {
      const percent = percentile(usual, score);
      find("percentile").style.setProperty("--percentile", `${percent}%`);
      find("rank").textContent = rank(percent, usual, noun);
      words.unshift(`${rank(percent, usual, noun)}.`);
    }
    const { where, share } = densest(pixels);
    describe(this.#map, `Excess by pixel: ${Math.round(share * 100)} % of it in the ${where}.`);
    find("unusual").hidden = false;
    this.#words = words.join(" ");
    this.#announce();
  }

  hide(): void {
    find("unusual").hidden = true;
    context(this.#map).clearRect(0, 0, SIDE, SIDE);
    this.#words = "";
    this.#announce();
  }
}
