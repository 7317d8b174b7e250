/** Digits onto canvases. */

export const SIDE = 28;
export const PIXELS = SIDE * SIDE;

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext("2d");
  if (!found) throw new Error("this browser has no 2D canvas");
  return found;
}

/** Ink of a colour `#rrggbb`, as opaque as each of `rows` digits in [0, 1] has it, in `columns` side by side. */
export function inked(pixels: ArrayLike<number>, colour: string, rows = 1, columns = rows): ImageData {
  const [red, green, blue] = [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
  const image = new ImageData(columns * SIDE, Math.ceil(rows / columns) * SIDE);
  for (let i = 0; i < rows * PIXELS; i++) {
    const digit = Math.floor(i / PIXELS);
    const x = (digit % columns) * SIDE + (i % SIDE);
    const y = Math.floor(digit / columns) * SIDE + Math.floor((i % PIXELS) / SIDE);
    image.data.set([red, green, blue, Math.round(pixels[i] * 255)], (y * image.width + x) * 4);
  }
  return image;
}

/** Paint one digit of grey levels in [0, 1] over all of a canvas of 28 by 28. */
export function paint(canvas: HTMLCanvasElement, pixels: ArrayLike<number>, colour: string): void {
  context(canvas).putImageData(inked(pixels, colour), 0, 0);
}

/** A canvas for one digit, with words for those who can't see it. */
export function digitCanvas(words: string): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  canvas.className = "digit";
  describe(canvas, words);
  return canvas;
}

export function describe(canvas: HTMLCanvasElement, words: string): void {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
}

/** uint8 pixels, 255 is ink, as grey levels in [0, 1]. */
export function greys(image: Uint8Array): Float32Array {
  return Float32Array.from(image, (value) => value / 255);
}
