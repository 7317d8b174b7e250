/** The image at the point: drawn as it moves with as many pixels as the screen has for it, and described in words. */
import { Comparison } from "./compare";
import { find, settled, words } from "./dom";
import { picture } from "./draw";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { context, describe, deviceSide } from "./paint";
import { nearest } from "./plane";
import { type Latents, nameOf, type Site } from "./site";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";
import { Times } from "./times";
import { inside } from "./view";

const FRAME = 14; // milliseconds that drawing may take while something moves
const LARGE = 200; // pixels along a side
const REST = 120; // milliseconds after which it counts as resting
const touch = matchMedia("(hover: none)");

interface Wanted extends Pick<State, "z" | "look" | "softness"> {
  /** Whether it may take longer than a frame. */
  resting: boolean;
}

export class DigitView {
  readonly #canvas = find<HTMLCanvasElement>("digit");
  readonly #comparison: Comparison;
  readonly #say = settled(500, () => this.#announce());
  readonly #drawNext = latest((wanted: Wanted) => this.#draw(wanted));
  readonly #sharpen = settled(REST, () => this.#ask(true));
  #newest: Wanted | null = null;
  /** Milliseconds for a pixel: what a slow machine takes, until it is known better. */
  #pace = FRAME / 400 ** 2;
  /** Of pictures with all pixels of the screen. */
  readonly times = new Times(0);

  constructor(
    readonly store: Store,
    readonly models: Models,
    readonly map: LatentMap,
    readonly site: Site,
    readonly latents: Latents,
    readonly whenDrawn: () => void,
  ) {
    this.#comparison = new Comparison(store, models, map, whenDrawn);
    store.listen((state, changed) => {
      if (changed.has("z") || changed.has("look") || changed.has("softness")) this.#ask();
      this.#write(state);
    });
    whenThemeChanges(() => this.#ask());
    new ResizeObserver(() => this.#ask()).observe(this.#canvas);
    addEventListener("resize", () => this.#ask()); // the browser's own zoom
    this.#write(store.state);
  }

  get int8(): Times | null {
    return this.store.state.compare ? this.#comparison.times : null;
  }

  async first(): Promise<void> {
    await this.#draw(this.#wish(true));
    this.#announce();
  }

  #wish(resting: boolean): Wanted {
    const { z, look, softness } = this.store.state;
    this.#newest = { z, look, softness, resting };
    return this.#newest;
  }

  #ask(resting = false): void {
    this.#drawNext(this.#wish(resting));
  }

  async #draw(wanted: Wanted): Promise<void> {
    const full = deviceSide(this.#canvas);
    const side = wanted.resting ? full : Math.min(full, Math.floor(Math.sqrt(FRAME / this.#pace)));
    if (side < full) this.#sharpen();
    const drawn = await picture(
      this.models,
      { z: wanted.z, view: inside(wanted.look, full), side, softness: wanted.softness },
      this.map.theme.ink,
      () => wanted !== this.#newest && wanted.resting, // what moves is shown, though it is late
    );
    if (!drawn) return;
    await this.#paint(drawn.image, full);
    this.#learn(side, drawn.milliseconds, side === full);
    this.#caption(wanted, full);
    this.#say();
    this.whenDrawn();
  }

  async #paint(image: ImageData, full: number): Promise<void> {
    const enlarged = image.width < full ? await createImageBitmap(image) : null;
    if (this.#canvas.width !== full) this.#canvas.width = this.#canvas.height = full;
    const to = context(this.#canvas);
    if (!enlarged) return to.putImageData(image, 0, 0);
    to.clearRect(0, 0, full, full);
    to.drawImage(enlarged, 0, 0, full, full);
  }

  #learn(side: number, milliseconds: number, isFull: boolean): void {
    // Of small pictures most of the time is the network's; a single one that was held up says little.
    if (side >= LARGE) this.#pace += 0.2 * (Math.min(milliseconds / side ** 2, 2 * this.#pace) - this.#pace);
    if (!isFull) return;
    if (side !== this.times.side) this.times.restart(side);
    this.times.add(milliseconds);
  }

  #caption({ look }: Wanted, side: number): void {
    const { zoom } = inside(look, side);
    const far = zoom < 10 ? zoom.toFixed(1) : Math.round(zoom).toLocaleString("en");
    find("digit-caption").textContent = `${side} × ${side} pixels${zoom > 1 ? `, ${far}×` : ""}`;
  }

  #write({ z, held }: State): void {
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
