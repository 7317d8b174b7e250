/** The test images as dots, coloured by class. */
import type { Frame } from "./frame";
import { type Plane, type Point, project } from "./plane";
import type { Latents } from "./site";
import type { Theme } from "./theme";

const OPACITY = 0.75;
const SMALL = 2.4; // device pixels
const BLOCK = 500; // dots drawn colour by colour: changing colours is slow, and no colour may cover all others

export class Dots {
  /** Coordinates in the plane, one after the other. */
  readonly places: Float32Array;
  /** The distance from the origin within which 99 % of them lie, with a margin. */
  readonly radius: number;
  readonly #order: Uint32Array;
  /** The middle of each class' dots. */
  readonly #middles = new Map<number, [number, number]>();
  #stamps: { theme: Theme; radius: number; of: HTMLCanvasElement[] } | null = null;

  constructor(
    readonly latents: Latents,
    readonly plane: Plane,
    /** Their names, by label. */
    readonly classes: readonly string[],
  ) {
    const size = plane.mean.length;
    const count = latents.labels.length;
    this.places = new Float32Array(count * 2);
    for (let i = 0; i < count; i++) this.places.set(project(plane, latents.z, i * size), i * 2);
    const reach = Float32Array.from({ length: count }, (_, i) =>
      Math.max(Math.abs(this.places[i * 2]), Math.abs(this.places[i * 2 + 1])),
    ).sort();
    this.radius = Math.max(1, reach[Math.floor(count * 0.99)] * 1.08);
    if (size === 1)
      for (let i = 0; i < count; i++) {
        const jitter = ((i * 0.618034) % 1) - 0.5; // spread evenly, the same each time
        const last = classes.length - 1;
        const row = latents.labels[i] > last ? 0 : latents.labels[i] - last / 2;
        this.places[i * 2 + 1] = (row + jitter * 0.5) * (2 / Math.max(2, classes.length)) * this.radius;
      }
    this.#order = Uint32Array.from(latents.labels.keys()).sort(
      (a, b) => Math.floor(a / BLOCK) - Math.floor(b / BLOCK) || latents.labels[a] - latents.labels[b],
    );
    this.#findMiddles();
  }

  placeOf(row: number): Point {
    return [this.places[row * 2], this.places[row * 2 + 1]];
  }

  draw(to: CanvasRenderingContext2D, frame: Frame, theme: Theme, hidden: ReadonlySet<number>): void {
    const radius = 1.7 * Math.min(2.2, frame.view.zoom ** 0.3);
    // A square of three pixels looks like a dot and is drawn seven times faster than an image.
    const square = radius * devicePixelRatio < SMALL;
    const stamps = square ? [] : this.#stampsFor(theme, radius);
    const side = square ? radius * 1.8 : stamps[0].width / devicePixelRatio;
    const colours = [...theme.classes, theme.none];
    const { width, height, scale } = frame;
    const [left, top] = frame.toScreen([0, 0]);
    const { labels } = this.latents;
    let colour = -1;
    to.globalAlpha = square ? OPACITY : 1;
    for (const row of this.#order) {
      const label = labels[row];
      if (hidden.has(label)) continue;
      const x = left + this.places[row * 2] * scale - side / 2;
      const y = top - this.places[row * 2 + 1] * scale - side / 2;
      if (x < -side || y < -side || x > width || y > height) continue;
      const wanted = Math.min(label, theme.classes.length);
      if (!square) to.drawImage(stamps[wanted], x, y, side, side);
      else {
        if (wanted !== colour) to.fillStyle = colours[wanted];
        colour = wanted;
        to.fillRect(x, y, side, side);
      }
    }
    to.globalAlpha = 1;
  }

  /** The names of the classes, each at the median of its dots, so that colour is not the only cue. */
  drawLabels(to: CanvasRenderingContext2D, frame: Frame, theme: Theme, hidden: ReadonlySet<number>): void {
    to.font = "bold 14px system-ui, sans-serif";
    to.textAlign = "center";
    to.textBaseline = "middle";
    for (const [label, middle] of this.#middles) {
      if (hidden.has(label)) continue;
      const [x, y] = frame.toScreen(middle);
      const name = this.classes[label];
      const half = Math.max(0, to.measureText(name).width / 2 - 5); // of what is straight: nothing for one letter
      to.beginPath();
      to.arc(x + half, y, 11, -Math.PI / 2, Math.PI / 2);
      to.arc(x - half, y, 11, Math.PI / 2, -Math.PI / 2);
      to.closePath();
      to.fillStyle = theme.paper;
      to.fill();
      to.strokeStyle = theme.classes[label];
      to.lineWidth = 2;
      to.stroke();
      to.fillStyle = theme.ink;
      to.fillText(name, x, y + 1);
    }
  }

  #findMiddles(): void {
    const { labels } = this.latents;
    for (const label of this.classes.keys()) {
      const rows = [...labels.keys()].filter((row) => labels[row] === label);
      const median = (axis: number) =>
        rows.map((row) => this.places[row * 2 + axis]).sort((a, b) => a - b)[rows.length >> 1];
      if (rows.length) this.#middles.set(label, [median(0), median(1)]);
    }
  }

  /** A round dot of each colour, drawn once. */
  #stampsFor(theme: Theme, radius: number): HTMLCanvasElement[] {
    if (this.#stamps?.theme !== theme || Math.abs(this.#stamps.radius - radius) > 0.05) {
      const of = [...theme.classes, theme.none].map((colour) => {
        const stamp = document.createElement("canvas");
        stamp.width = stamp.height = Math.ceil((radius + 1) * 2 * devicePixelRatio);
        const to = stamp.getContext("2d") as CanvasRenderingContext2D;
        to.fillStyle = colour;
        to.globalAlpha = OPACITY;
        to.arc(stamp.width / 2, stamp.width / 2, radius * devicePixelRatio, 0, 2 * Math.PI);
        to.fill();
        return stamp;
      });
      this.#stamps = { theme, radius, of };
    }
    return this.#stamps.of;
  }
}
