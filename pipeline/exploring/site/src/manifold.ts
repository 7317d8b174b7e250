/** The manifold: images on a grid over the visible part of the plane, each with as many pixels as the screen has for it. */
import type { Frame } from "./frame";
import type { Models } from "./models";
import { context, paintEach } from "./paint";
import { move, type Plane, type Point } from "./plane";
import type { Theme } from "./theme";
import { PICTURE, pixelsOf } from "./view";

const CELL = 38; // least size of an image in CSS pixels
const AT_ONCE = 24; // images, so that requests for the image at the point do not have to wait

export class Manifold {
  readonly #sheet = document.createElement("canvas");
  /** The corners of the sheet in the plane. */
  #corners: [Point, Point] | null = null;
  #asked = 0;

  constructor(readonly models: Models) {}

  clear(): void {
    this.#asked++;
    this.#corners = null;
  }

  /** Draws the grid again, and returns whether it finished. Until then the old grid stays visible, enlarged. */
  async update(frame: Frame, plane: Plane, z: Float32Array, softness: number, theme: Theme): Promise<boolean> {
    const mine = ++this.#asked;
    const flat = z.length === 1;
    const columns = Math.max(4, Math.floor(frame.width / CELL));
    const side = Math.floor((frame.width / columns) * devicePixelRatio);
    const cell = side / devicePixelRatio;
    const rows = flat ? 1 : Math.max(1, Math.round(frame.height / cell));
    const left = onScreen((frame.width - columns * cell) / 2);
    const top = onScreen((frame.height - rows * cell) / 2);
    const asked = pixelsOf(PICTURE, side, softness);
    const sheet = document.createElement("canvas");
    sheet.width = columns * side;
    sheet.height = rows * side;
    const to = context(sheet);
    for (let first = 0; first < rows * columns; first += AT_ONCE) {
      const count = Math.min(AT_ONCE, rows * columns - first);
      const latents = new Float32Array(count * z.length);
      const place = (i: number): Point => [(first + i) % columns, Math.floor((first + i) / columns)];
      for (let i = 0; i < count; i++) {
        const [column, row] = place(i);
        const at = frame.toPlane([left + (column + 0.5) * cell, top + (row + 0.5) * cell]);
        latents.set(move(plane, z, at), i * z.length);
      }
      const { pixels } = await this.models.render(latents, count, asked);
      if (mine !== this.#asked) return false;
      paintEach(to, pixels, theme.ink, side, (i) => place(i).map((number) => number * side) as Point);
    }
    this.#sheet.width = sheet.width;
    this.#sheet.height = sheet.height;
    context(this.#sheet).drawImage(sheet, 0, 0);
    this.#corners = [frame.toPlane([left, top]), frame.toPlane([left + columns * cell, top + rows * cell])];
    return true;
  }

  draw(to: CanvasRenderingContext2D, frame: Frame): void {
    if (!this.#corners) return;
    const [[left, top], [right, bottom]] = this.#corners.map((corner) => frame.toScreen(corner).map(onScreen));
    to.drawImage(this.#sheet, left, top, right - left, bottom - top);
  }
}

/** The nearest edge of a device pixel, so that a sheet of as many pixels is shown as it is. */
function onScreen(place: number): number {
  return Math.round(place * devicePixelRatio) / devicePixelRatio;
}
