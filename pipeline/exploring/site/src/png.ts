/** Writes a PNG file row by row, so that no picture is too large for a canvas or for memory. */

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const PALETTE = 3; // the colour type
const UP = 2; // the filter: each byte less the one above, which is mostly 0

/** PNG (third edition), annex D. */
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

export class PngWriter {
  readonly #parts: BlobPart[] = [SIGNATURE];
  readonly #deflate = new CompressionStream("deflate");
  readonly #rows = this.#deflate.writable.getWriter();
  readonly #collected = this.#collect();
  #above: Uint8Array;

  /** `colours`: 256 of them, `[256, 3]`. */
  constructor(
    readonly width: number,
    height: number,
    colours: Uint8Array,
  ) {
    this.#above = new Uint8Array(width);
    const header = new DataView(new ArrayBuffer(13));
    header.setUint32(0, width);
    header.setUint32(4, height);
    header.setUint8(8, 8); // bits of a pixel
    header.setUint8(9, PALETTE);
    this.#add("IHDR", new Uint8Array(header.buffer));
    this.#add("PLTE", colours);
  }

  /** Adds rows of pixels: which colour each has, `[rows, width]`. */
  async write(pixels: Uint8Array): Promise<void> {
    const { width } = this;
    const lines = new Uint8Array((pixels.length / width) * (width + 1));
    let above = this.#above;
    for (let start = 0, to = 0; start < pixels.length; start += width) {
      const row = pixels.subarray(start, start + width);
      lines[to++] = UP;
      for (let i = 0; i < width; i++) lines[to++] = row[i] - above[i];
      above = row;
    }
    this.#above = above.slice();
    await this.#rows.write(lines);
  }

  async finish(): Promise<Blob> {
    await this.#rows.close();
    await this.#collected;
    this.#add("IEND", new Uint8Array(0));
    return new Blob(this.#parts, { type: "image/png" });
  }

  async #collect(): Promise<void> {
    const reader = this.#deflate.readable.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) this.#add("IDAT", next.value);
  }

  #add(type: string, data: Uint8Array): void {
    const chunk = new Uint8Array(data.length + 12);
    const numbers = new DataView(chunk.buffer);
    numbers.setUint32(0, data.length);
    chunk.set(new TextEncoder().encode(type), 4);
    chunk.set(data, 8);
    let crc = 0xffffffff;
    for (const byte of chunk.subarray(4, -4)) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
    numbers.setUint32(data.length + 8, ~crc);
    this.#parts.push(chunk);
  }
}
