/** Paints images on canvases. */

export const SIDE = 28;
export const PIXELS = SIDE * SIDE;

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext("2d");
  if (!found) throw new Error("this browser has no 2D canvas");
  return found;
}

/** `rows` images in the colour `#rrggbb`, `columns` side by side; a pixel in [0, 1] is the opacity of its ink. */
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

/** Paints an image with grey levels in [0, 1] on a canvas of 28 by 28 pixels. */
export function paint(canvas: HTMLCanvasElement, pixels: ArrayLike<number>, colour: string): void {
  context(canvas).putImageData(inked(pixels, colour), 0, 0);
}

/** A canvas for one image, with a description for screen readers. */
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

/** Converts uint8 pixels, 255 is ink, to grey levels in [0, 1]. */
export function greys(image: Uint8Array): Float32Array {
  return Float32Array.from(image, (value) => value / 255);
}
