// How unusual is an image? Run beside `scorer/` after `npm install onnxruntime-node`.
import { readFile } from "node:fs/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";

const session = await InferenceSession.create("scorer/model.onnx");
const { quantiles } = JSON.parse(await readFile("scorer/manifest.json", "utf8")).models.scorer; // of images held out

const pixels = new Uint8Array(2 * 28 * 28); // of two images, row by row: 0 = background, 255 = ink
for (let row = 4; row < 24; row++) pixels.fill(255, row * 28 + 12, row * 28 + 16); // a bar
for (let row = 28; row < 56; row += 2) pixels.fill(255, row * 28, row * 28 + 28); // stripes

const { score } = await session.run({ image: new Tensor("uint8", pixels, [2, 28, 28]) }); // float32 [2]
for (const value of score.data) {
  const percentile = (100 * quantiles.all.filter((usual) => usual < value).length) / quantiles.all.length;
  console.log(`score ${value.toFixed(1)}, more than ${percentile.toFixed(1)} % of the images held out`);
}
