// Draw the image in the middle of the latents. Run beside `decoder/` after `npm install onnxruntime-node`.
import { InferenceSession, Tensor } from "onnxruntime-node";

const session = await InferenceSession.create("decoder/model.onnx");
const latentDim = session.inputMetadata[0].shape[1];
const z = new Tensor("float32", new Float32Array(latentDim), [1, latentDim]);

const { image } = await session.run({ z }); // float32 [1, 28, 28], each pixel in [0, 1]
for (let row = 0; row < 28; row++) {
  const pixels = image.data.subarray(row * 28, row * 28 + 28);
  console.log(Array.from(pixels, (pixel) => " .:-=+*#%@"[Math.floor(pixel * 9.99)]).join(""));
}
