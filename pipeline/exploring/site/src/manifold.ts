/** The manifold: images decoded on a grid over the visible part of the plane. */
import type { Frame } from "./frame";
import type { Models } from "./models";
import { context, inked, SIDE } from "./paint";
import { move, type Plane, type Point } from "./plane";
import type { Theme } from "./theme";

const CELL = 38; // least size of an image in CSS pixels
const ROWS_AT_ONCE = 24; // so that requests for the image at the point do not have to wait

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

  /** Decodes the grid again, and returns whether it finished. Until then the old grid stays visible. */
  async update(frame: Frame, plane: Plane, z: Float32Array, theme: Theme): Promise<boolean> {
    const mine = ++this.#asked;
    const flat = z.length === 1;
    const columns = Math.max(4, Math.floor(frame.width / CELL));
    const cell = frame.width / columns;
    const rows = flat ? 1 : Math.max(1, Math.round(frame.height / cell));
    const top = (frame.height - rows * cell) / 2;
    const sheet = document.createElement("canvas");
    sheet.width = columns * SIDE;
    sheet.height = rows * SIDE;
    const to = context(sheet);
    for (let first = 0; first < rows * columns; first += ROWS_AT_ONCE) {
      const count = Math.min(ROWS_AT_ONCE, rows * columns - first);
      const latents = new Float32Array(count * z.length);
      for (let i = 0; i < count; i++) {
        const [row, column] = [Math.floor((first + i) / columns), (first + i) % columns];
        const place = frame.toPlane([(column + 0.5) * cell, top + (row + 0.5) * cell]);
        latents.set(move(plane, z, place), i * z.length);
      }
      const { pixels } = await this.models.decode(latents, count);
      if (mine !== this.#asked) return false;
      const images = inked(pixels, theme.ink, count, 1);
      for (let i = 0; i < count; i++) {
        const [row, column] = [Math.floor((first + i) / columns), (first + i) % columns];
        const [x, y] = [column * SIDE, row * SIDE];
        to.putImageData(images, x, y - i * SIDE, 0, i * SIDE, SIDE, SIDE);
      }
    }
    this.#sheet.width = sheet.width;
    this.#sheet.height = sheet.height;
    context(this.#sheet).drawImage(sheet, 0, 0);
    this.#corners = [frame.toPlane([0, top]), frame.toPlane([frame.width, top + rows * cell])];
    return true;
  }

  draw(to: CanvasRenderingContext2D, frame: Frame): void {
    if (!this.#corners) return;
    const [[left, top], [right, bottom]] = this.#corners.map((corner) => frame.toScreen(corner));
    to.drawImage(this.#sheet, left, top, right - left, bottom - top);
  }
}
