/** The elements of index.html, by their ids. */

export function find<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element as T;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Shows an error in its place on the page, or clears it. */
export function complain(place: HTMLElement, error?: unknown): void {
  place.textContent = error === undefined ? "" : error instanceof Error ? error.message : String(error);
  place.hidden = error === undefined;
}

/** Calls `work` once it has not been requested for `milliseconds`. */
export function settled(milliseconds: number, work: () => void): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

/** Calls `work` once in the next frame, however often it is requested. */
export function nextFrame(work: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** A vector as short text. */
export function words(z: ArrayLike<number>): string {
  const shown = Array.from(z)
    .slice(0, 4)
    .map((value) => value.toFixed(2).replace("-", "−"));
  return `(${shown.join(", ")}${z.length > 4 ? ", …" : ""})`;
}
