/** Converts any picture of a digit to MNIST's form: 28 by 28, light ink, 20 high or wide, centred by its mass. */
import { context, PIXELS, SIDE } from "./paint";

const INNER = 20;
const FAINTEST = 24; // of 255; anything fainter is noise of the paper
const CONTRAST = 32; // of 255, by which ink and uneven paper must differ

/** The digit in a picture of grey levels: what `pipeline/sources/digit.py` makes of it, to the same pixels. */
export function digitOf(grey: ArrayLike<number>, width: number, height: number): Uint8Array | null {
  const { ink, dirtiest } = inkOf(grey, width, height);
  return asMnist(dirtiest > FAINTEST ? clean(ink) : ink, width, height);
}

/** Grey levels as ink, dark on light inverted, and the darkest ink at the border, which is taken for paper. */
function inkOf(grey: ArrayLike<number>, width: number, height: number): { ink: Float32Array; dirtiest: number } {
  const border: number[] = [];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x += y % (height - 1) ? Math.max(1, width - 1) : 1) border.push(y * width + x);
  const light = border.reduce((sum, at) => sum + grey[at], 0) / border.length > 127;
  const ink = Float32Array.from(grey, (value) => (light ? 255 - value : value));
  return { ink, dirtiest: border.reduce((most, at) => Math.max(most, ink[at]), 0) };
}

/** Takes uneven paper away: what lies below Otsu's threshold; the mean of the ink above it becomes 255. */
function clean(ink: Float32Array): Float32Array {
  const counts = new Array<number>(256).fill(0);
  for (const value of ink) counts[value]++;
  const all = counts.reduce((sum, count, value) => sum + count * value, 0);
  let [below, sum, best] = [0, 0, -1];
  let [threshold, paper, full] = [0, 0, 0];
  for (let value = 0; value < 256; value++) {
    below += counts[value];
    sum += value * counts[value];
    const above = ink.length - below;
    if (!below || !above) continue;
    const means = [sum / below, (all - sum) / above];
    const between = below * above * (means[1] - means[0]) ** 2;
    if (between > best) [best, threshold, paper, full] = [between, value, ...means];
  }
  if (best < 0 || full - paper < CONTRAST) return new Float32Array(ink.length);
  return ink.map((value) => Math.min(255, Math.max(0, Math.round((255 * (value - threshold)) / (full - threshold)))));
}

/** The luma of colours, as whole numbers. */
function greyOf({ data }: ImageData): Uint8Array {
  return Uint8Array.from({ length: data.length / 4 }, (_, i) =>
    Math.floor((299 * data[i * 4] + 587 * data[i * 4 + 1] + 114 * data[i * 4 + 2] + 500) / 1000),
  );
}

/** Crops, scales and centres the ink; null if there is none. */
export function asMnist(ink: Float32Array, width: number, height: number): Uint8Array | null {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink[y * width + x] > FAINTEST) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
  if (right < 0) return null;
  const [wide, high] = [right - left + 1, bottom - top + 1];
  const scale = INNER / Math.max(wide, high);
  const [columns, rows] = [Math.max(1, Math.round(wide * scale)), Math.max(1, Math.round(high * scale))];
  const small = new Float32Array(columns * rows);
  let [mass, massX, massY] = [0, 0, 0];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const value = mean(ink, width, [
        left + (column * wide) / columns,
        top + (row * high) / rows,
        left + ((column + 1) * wide) / columns,
        top + ((row + 1) * high) / rows,
      ]);
      small[row * columns + column] = value;
      mass += value;
      massX += value * (column + 0.5);
      massY += value * (row + 0.5);
    }
  const shift = (middle: number, size: number) => Math.min(Math.max(Math.round(SIDE / 2 - middle), 0), SIDE - size);
  const [x0, y0] = [shift(massX / mass, columns), shift(massY / mass, rows)];
  const image = new Uint8Array(PIXELS);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      image[(y0 + row) * SIDE + x0 + column] = Math.round(small[row * columns + column]);
  return image;
}

/** The mean of the pixels that a rectangle covers, weighted by the covered area. */
function mean(ink: Float32Array, width: number, [x0, y0, x1, y1]: [number, number, number, number]): number {
  let sum = 0;
  let area = 0;
  for (let y = Math.floor(y0); y < y1; y++)
    for (let x = Math.floor(x0); x < x1; x++) {
      const part = (Math.min(x + 1, x1) - Math.max(x, x0)) * (Math.min(y + 1, y1) - Math.max(y, y0));
      if (part <= 1e-9) continue;
      sum += (ink[y * width + x] ?? 0) * part;
      area += part;
    }
  return area ? sum / area : 0;
}

/** The digit in an image file, null if there is none. An image of 28 by 28 pixels is used as it is. */
export async function readImage(file: File): Promise<Uint8Array | null> {
  const bitmap = await createImageBitmap(file);
  const exact = bitmap.width === SIDE && bitmap.height === SIDE;
  const scale = exact ? 1 : Math.min(1, 400 / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const to = context(canvas);
  to.imageSmoothingQuality = "high";
  to.fillStyle = "#fff";
  to.fillRect(0, 0, canvas.width, canvas.height);
  to.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const grey = greyOf(to.getImageData(0, 0, canvas.width, canvas.height));
  const { width, height } = canvas;
  return exact ? Uint8Array.from(inkOf(grey, width, height).ink) : digitOf(grey, width, height);
}
