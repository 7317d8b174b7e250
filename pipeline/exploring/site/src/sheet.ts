/** The pictures of all test images on one sheet, loaded when the first is needed. */
import { context, digitCanvas, PIXELS, SIDE } from "./paint";
import { readFile, type Site } from "./site";

let sheet: Promise<ImageBitmap> | null = null;

/** One test image: uint8 `[28, 28]`, 255 is ink. */
export async function readDigit(site: Site, base: string, row: number): Promise<Uint8Array> {
  sheet ??= readFile(site.files.images, base).then((bytes) => createImageBitmap(new Blob([bytes])));
  sheet.catch(() => {
    sheet = null;
  });
  const [x, y] = [(row % site.columns) * SIDE, Math.floor(row / site.columns) * SIDE];
  const to = context(digitCanvas(""));
  to.drawImage(await sheet, x, y, SIDE, SIDE, 0, 0, SIDE, SIDE);
  const { data } = to.getImageData(0, 0, SIDE, SIDE);
  return Uint8Array.from({ length: PIXELS }, (_, i) => data[i * 4]);
}
