/** Runs the models in a worker, so that the page never waits for them. */
import * as ort from "onnxruntime-web/wasm";
import { readMetadata } from "./onnx";
import type { Answer, Opened, Ran, Request } from "./protocol";
import { load, type ModelName, Problem, readFile, unzip } from "./site";

const RUNTIME = "ort-wasm-simd-threaded.wasm.gz";
const TENSORS = {
  renderer: ["z", "rows", "columns", "pixel", "softness", "image"],
  decoder_int8: ["z", "image"],
  encoder: ["image", "z_mean", "z_log_var"],
};

ort.env.wasm.numThreads = 1; // more need cross-origin isolation
ort.env.logLevel = "error";

// Requested at once, while the page is still reading site.json.
const runtime = load(new URL(RUNTIME, self.location.href), RUNTIME).then((bytes) => unzip(bytes, RUNTIME));
runtime.catch(() => {}); // reported when a model is opened

const sessions = new Map<ModelName, ort.InferenceSession>();
let last: Promise<unknown> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  last = last.then(() => answer(data)); // one after the other, in order
};

async function answer(request: Request): Promise<void> {
  const say = (message: Answer, moved: Transferable[] = []) => self.postMessage(message, { transfer: moved });
  const { id } = request;
  try {
    if (request.kind === "open") return say({ id, result: await open(request) });
    const result = await run(request);
    say(
      { id, result },
      Object.values(result.outputs).map(({ buffer }) => buffer),
    );
  } catch (error) {
    say({ id, problem: error instanceof Problem ? error.message : `ONNX Runtime: ${error}` });
  }
}

async function open({ name, file, latents, base }: Request & { kind: "open" }): Promise<Opened> {
  const [bytes, binary] = await Promise.all([readFile(file, base), runtime]);
  ort.env.wasm.wasmBinary ??= binary;
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Problem(`${file.path} cannot be run: ${String(error).slice(0, 300)}`);
  }
  const wanted = TENSORS[name];
  const found = [...session.inputNames, ...session.outputNames];
  if (wanted.some((tensor) => !found.includes(tensor)))
    throw new Problem(`${file.path} is another model: it has ${found.join(", ")}, expected ${wanted.join(", ")}.`);
  const sized = [...session.inputMetadata, ...session.outputMetadata].find((tensor) => tensor.name.startsWith("z"));
  if (sized?.isTensor && sized.shape[1] !== latents)
    throw new Problem(`${file.path} is another model: it has ${sized.shape[1]} latents, expected ${latents}.`);
  sessions.set(name, session);
  return { metadata: readMetadata(bytes), runtime: `onnxruntime-web ${ort.env.versions.web}` };
}

async function run({ name, inputs }: Request & { kind: "run" }): Promise<Ran> {
  const session = sessions.get(name);
  if (!session) throw new Error(`${name} is not open`);
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([input, { values, shape }]) => [
      input,
      values instanceof Uint8Array ? new ort.Tensor("uint8", values, shape) : new ort.Tensor("float32", values, shape),
    ]),
  );
  const start = performance.now();
  const results = await session.run(tensors);
  const milliseconds = performance.now() - start;
  const outputs = Object.fromEntries(
    Object.entries(results).map(([output, { data }]) => [output, (data as Float32Array).slice()]),
  );
  return { outputs, milliseconds };
}
