/** How long something takes. */

const KEPT = 101; // the last times, of which the median is taken

export class Times {
  #times: number[] = [];
  #warm = false;

  /** `side`: of the pictures that take so long, in pixels. */
  constructor(public side: number) {}

  /** Forgets the times of another size. */
  restart(side: number): void {
    this.side = side;
    this.#times = [];
  }

  /** The first time is ignored, since the runtime allocates memory then. */
  add(milliseconds: number): void {
    if (this.#warm) this.#times.push(milliseconds);
    this.#warm = true;
    if (this.#times.length > KEPT) this.#times.shift();
  }

  /** In milliseconds; undefined if there is none yet. */
  get median(): number | undefined {
    return [...this.#times].sort((a, b) => a - b)[this.#times.length >> 1];
  }

  toString(): string {
    const { median } = this;
    if (median === undefined) return "not yet";
    return `${median < 0.1 ? "under 0.1" : median.toFixed(1)} ms`;
  }
}
