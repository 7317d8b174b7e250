// PNG files that are written row by row, read back by the rules of the format with Node's zlib.
import assert from "node:assert/strict";
import test from "node:test";
import { crc32, inflateSync } from "node:zlib";
import { PngWriter } from "../../../pipeline/exploring/site/src/png";
import { sizeOf } from "../../../pipeline/exploring/site/src/savedigit";

const COLOURS = Uint8Array.from({ length: 768 }, (_, i) => 255 - Math.floor(i / 3));

/** The chunks of a file, with their checksums verified. */
async function read(blob) {
  const bytes = Buffer.from(await blob.arrayBuffer());
  assert.equal(bytes.subarray(0, 8).toString("latin1"), "\x89PNG\r\n\x1a\n");
  const chunks = [];
  for (let at = 8; at < bytes.length; ) {
    const size = bytes.readUInt32BE(at);
    const [type, data] = [bytes.toString("latin1", at + 4, at + 8), bytes.subarray(at + 8, at + 8 + size)];
    assert.equal(bytes.readUInt32BE(at + 8 + size), crc32(bytes.subarray(at + 4, at + 8 + size)), type);
    chunks.push({ type, data });
    at += size + 12;
  }
  return chunks;
}

/** The pixels of the rows, each of which is stored less the one above. */
function unfiltered(lines, width) {
  const pixels = new Uint8Array((lines.length / (width + 1)) * width);
  for (let row = 0; row * width < pixels.length; row++) {
    assert.equal(lines[row * (width + 1)], 2);
    for (let i = 0; i < width; i++)
      pixels[row * width + i] = lines[row * (width + 1) + 1 + i] + (row ? pixels[(row - 1) * width + i] : 0);
  }
  return pixels;
}

for (const strips of [[7], [1, 2, 4], [3, 0, 4]])
  test(`rows written as ${strips} are the picture`, async () => {
    const pixels = Uint8Array.from({ length: 35 }, (_, i) => (i * 89) % 256);
    const writer = new PngWriter(5, 7, COLOURS);
    let first = 0;
    for (const count of strips) {
      await writer.write(pixels.subarray(first * 5, (first + count) * 5));
      first += count;
    }
    const chunks = await read(await writer.finish());
    assert.deepEqual([...new Set(chunks.map(({ type }) => type))], ["IHDR", "PLTE", "IDAT", "IEND"]);
    assert.deepEqual([...chunks[0].data], [0, 0, 0, 5, 0, 0, 0, 7, 8, 3, 0, 0, 0]);
    assert.deepEqual(new Uint8Array(chunks[1].data), COLOURS);
    const stored = Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data));
    assert.deepEqual(unfiltered(inflateSync(stored), 5), pixels);
  });

test("a size is a whole number of pixels", () => {
  for (const size of [1, 28, 1080, 32768]) assert.equal(sizeOf(` ${size} `), size);
  for (const [typed, found] of [
    ["", "empty"],
    ["big", "big"],
    ["10.5", "10.5"],
    ["0", "0"],
    ["32769", "32769"],
  ])
    assert.throws(() => sizeOf(typed), { message: `The size is ${found}, expected whole pixels from 1 to 32,768.` });
});
