"""Draw the image in the middle of the latents. Needs numpy and onnxruntime; run beside `decoder/`."""

import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("decoder/model.onnx", providers=["CPUExecutionProvider"])
latent_dim = session.get_inputs()[0].shape[1]
# Or a sample of the prior: np.random.default_rng(0).standard_normal((1, latent_dim), np.float32)
z = np.zeros((1, latent_dim), np.float32)

(images,) = session.run(["image"], {"z": z})  # float32 [1, 28, 28], each pixel in [0, 1]
for row in images[0]:
    print("".join(" .:-=+*#%@"[int(pixel * 9.99)] for pixel in row))
