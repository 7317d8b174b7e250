"""How unusual is an image? Needs numpy and onnxruntime; run beside `scorer/`."""

import json

import numpy as np
import onnxruntime as ort

session = ort.InferenceSession("scorer/model.onnx", providers=["CPUExecutionProvider"])
usual = json.loads(session.get_modelmeta().custom_metadata_map["score_quantiles"])["all"]  # of images held out

images = np.zeros((2, 28, 28), np.uint8)  # grey levels: 0 = background, 255 = ink
images[0, 4:24, 12:16] = 255  # a bar
images[1, ::2] = 255  # stripes

(scores,) = session.run(["score"], {"image": images})  # float32 [2]
percentiles = np.interp(scores, usual, np.linspace(0, 100, len(usual)))
for score, percentile in zip(scores, percentiles, strict=True):
    print(f"score {score:.1f}, more than {percentile:.1f} % of the images held out")
