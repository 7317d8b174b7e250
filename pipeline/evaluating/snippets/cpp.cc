// Draw the image in the middle of the latents with ONNX Runtime's C++ API; run beside `decoder/`.
// Not tested: no package that this project's tests can install has the headers. Link with -lonnxruntime.
#include <onnxruntime_cxx_api.h>
#include <cstdint>
#include <iostream>
#include <vector>

int main() {
  Ort::Env env;
  Ort::Session session(env, ORT_TSTR("decoder/model.onnx"), Ort::SessionOptions{});
  Ort::TypeInfo input = session.GetInputTypeInfo(0);
  std::vector<int64_t> shape{1, input.GetTensorTypeAndShapeInfo().GetShape()[1]};  // [batch, latent_dim]
  std::vector<float> z(shape[1]);

  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto tensor = Ort::Value::CreateTensor<float>(memory, z.data(), z.size(), shape.data(), shape.size());
  const char *inputs[] = {"z"}, *outputs[] = {"image"};
  auto images = session.Run(Ort::RunOptions{}, inputs, &tensor, 1, outputs, 1);

  const float* pixel = images[0].GetTensorData<float>();  // float32 [1, 28, 28], each pixel in [0, 1]
  for (int row = 0; row < 28; row++, std::cout << '\n')
    for (int column = 0; column < 28; column++) std::cout << " .:-=+*#%@"[int(*pixel++ * 9.99f)];
}
