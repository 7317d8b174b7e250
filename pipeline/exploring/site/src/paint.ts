/** Paints images on canvases. */

/** The data's pixels along a side of an image. */
export const SIDE = 28;
export const PIXELS = SIDE * SIDE;

export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext("2d");
  if (!found) throw new Error("this browser has no 2D canvas");
  return found;
}

/** The parts of the colour `#rrggbb`, from 0 to 255. */
export function channels(colour: string): number[] {
  return [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
}

/** Rows of pixels in the colour `#rrggbb`; a pixel in [0, 1] is the opacity of its ink. */
export function inked(pixels: ArrayLike<number>, colour: string, width = SIDE): ImageData {
  const [red, green, blue] = channels(colour);
  const image = new ImageData(width, pixels.length / width);
  const whole = new Uint32Array(image.data.buffer); // four bytes at once: every browser's machine is little-endian
  const ink = (blue << 16) | (green << 8) | red;
  for (let i = 0; i < pixels.length; i++) whole[i] = ((pixels[i] * 255 + 0.5) << 24) | ink;
  return image;
}

/** Paints square images, which lie one below the other in `pixels`, each with its corner at its place. */
export function paintEach(
  to: CanvasRenderingContext2D,
  pixels: Float32Array,
  colour: string,
  side: number,
  placeOf: (i: number) => [number, number],
): void {
  const images = inked(pixels, colour, side);
  for (let i = 0; i * side < images.height; i++) {
    const [x, y] = placeOf(i);
    to.putImageData(images, x, y - i * side, 0, i * side, side, side);
  }
}

/** Device pixels that a square element is wide on the screen. */
export function deviceSide({ clientWidth }: HTMLElement): number {
  return Math.max(1, Math.round(clientWidth * devicePixelRatio));
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

/** Converts grey levels in [0, 1] to uint8 pixels: a loop, since `Uint8Array.from` takes seventy times as long. */
export function levels(pixels: Float32Array): Uint8Array {
  const found = new Uint8Array(pixels.length);
  for (let i = 0; i < pixels.length; i++) found[i] = pixels[i] * 255 + 0.5;
  return found;
}

/** Converts uint8 pixels, 255 is ink, to grey levels in [0, 1]. */
export function greys(image: Uint8Array): Float32Array {
  return Float32Array.from(image, (value) => value / 255);
}
