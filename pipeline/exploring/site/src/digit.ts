/** The image at the point: decoded as it moves, described in words, and compared with int8 on request. */
import { complain, find, settled, words } from "./dom";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { describe, paint } from "./paint";
import { nearest } from "./plane";
import { type Latents, nameOf, type Site } from "./site";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";

const touch = matchMedia("(hover: none)");
const KEPT = 101; // the last times, whose median is shown

export class Times {
  readonly #times: number[] = [];
  #warm = false;

  /** The first time is ignored, since the runtime allocates memory then. */
  add(milliseconds: number): void {
    if (this.#warm) this.#times.push(milliseconds);
    this.#warm = true;
    if (this.#times.length > KEPT) this.#times.shift();
  }

  toString(): string {
    const sorted = [...this.#times].sort((a, b) => a - b);
    const median = sorted[sorted.length >> 1];
    return sorted.length ? `${median < 0.1 ? "under 0.1" : median.toFixed(1)} ms` : "not yet";
  }
}

export class DigitView {
  readonly #canvas = find<HTMLCanvasElement>("digit");
  readonly #quantised = find<HTMLCanvasElement>("digit-int8");
  readonly times = { decoder: new Times(), decoder_int8: new Times() };
  #pixels: Float32Array | null = null;
  readonly #say = settled(500, () => this.#announce());

  constructor(
    readonly store: Store,
    readonly models: Models,
    readonly map: LatentMap,
    readonly site: Site,
    readonly latents: Latents,
    readonly whenDecoded: () => void,
  ) {
    const decode = latest((state: State) => this.#decode(state));
    store.listen((state, changed) => {
      if (changed.has("z") || changed.has("compare")) decode(state);
      this.#write(state);
    });
    whenThemeChanges(() => decode(store.state));
    const compare = find<HTMLInputElement>("compare");
    compare.addEventListener("change", () => store.change({ compare: compare.checked }));
    this.#write(store.state);
  }

  async first(): Promise<void> {
    await this.#decode(this.store.state);
    this.#announce();
  }

  async #decode({ z, compare }: State): Promise<void> {
    const { pixels, milliseconds } = await this.models.decode(z);
    this.times.decoder.add(milliseconds);
    this.#pixels = pixels;
    paint(this.#canvas, pixels, this.map.theme.ink);
    this.#say();
    await this.#compare(z, compare);
    this.whenDecoded();
  }

  async #compare(z: Float32Array, wanted: boolean): Promise<void> {
    const problem = find("compare-problem");
    complain(problem);
    if (!wanted) return;
    try {
      const { pixels, milliseconds } = await this.models.decode(z, 1, "decoder_int8");
      this.times.decoder_int8.add(milliseconds);
      paint(this.#quantised, pixels, this.map.theme.ink);
      let largest = 0;
      for (const [i, value] of pixels.entries())
        largest = Math.max(largest, Math.abs(value - (this.#pixels?.[i] ?? 0)));
      find("int8-caption").textContent = `int8, differs by at most ${largest.toFixed(3)}`;
    } catch (error) {
      complain(problem, error);
    }
  }

  #write({ z, held, compare }: State): void {
    find<HTMLInputElement>("compare").checked = compare;
    find("int8").hidden = !compare;
    find("point").textContent = `z = ${words(z)}`;
    find("held").textContent = touch.matches
      ? "Move a finger over the map to move the point."
      : held
        ? "The point is held. Click the map to release it."
        : "The point follows the pointer. Click to hold it.";
  }

  /** Called once the point rests, so that screen readers are not flooded. */
  #announce(): void {
    const { z } = this.store.state;
    const [{ row, distance }] = nearest(this.latents.z, z, 1);
    const { noun } = this.site;
    const name = nameOf(this.site, this.latents.labels, row);
    find("nearest-to-point").textContent = `Nearest test ${noun}: ${name}, ${distance.toFixed(2)} away.`;
    describe(this.#canvas, `The decoded ${noun} at z = ${words(z)}; the nearest test ${noun}: ${name}.`);
  }
}
