/** Runs the models in a worker, so that the page never waits for them. */
import * as ort from "onnxruntime-web/wasm";
import { readMetadata } from "./onnx";
import type { Answer, Opened, Ran, Request } from "./protocol";
import { load, type ModelName, Problem, readFile } from "./site";

const RUNTIME = "ort-wasm-simd-threaded.wasm";
const INTERFACES = {
  decoder: { input: "z", outputs: ["image"] },
  encoder: { input: "image", outputs: ["z_mean", "z_log_var"] },
};

ort.env.wasm.numThreads = 1; // more need cross-origin isolation
ort.env.logLevel = "error";

// Requested at once, while the page is still reading site.json.
const runtime = load(new URL(RUNTIME, self.location.href), RUNTIME);
runtime.catch(() => {}); // reported when a model is opened

const sessions = new Map<ModelName, ort.InferenceSession>();
let last: Promise<unknown> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>) => {
  last = last.then(() => answer(data)); // one after the other, in order
};

async function answer(request: Request): Promise<void> {
  let message: Answer;
  try {
    message = { id: request.id, result: await (request.kind === "open" ? open(request) : run(request)) };
  } catch (error) {
    message = { id: request.id, problem: error instanceof Problem ? error.message : `ONNX Runtime: ${error}` };
  }
  self.postMessage(message);
}

async function open({ name, file, latents, base }: Request & { kind: "open" }): Promise<Opened> {
  const [bytes, binary] = await Promise.all([readFile(file, base), runtime]);
  ort.env.wasm.wasmBinary ??= binary.buffer;
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Problem(`${file.path} cannot be run: ${String(error).slice(0, 300)}`);
  }
  const { input, outputs } = INTERFACES[name === "encoder" ? "encoder" : "decoder"];
  const found = [...session.inputNames, ...session.outputNames];
  if ([input, ...outputs].some((tensor) => !found.includes(tensor)))
    throw new Problem(
      `${file.path} is another model: it has ${found.join(", ")}, expected ${[input, ...outputs].join(", ")}.`,
    );
  const sized = [...session.inputMetadata, ...session.outputMetadata].find((tensor) => tensor.name.startsWith("z"));
  if (sized?.isTensor && sized.shape[1] !== latents)
    throw new Problem(`${file.path} is another model: it has ${sized.shape[1]} latents, expected ${latents}.`);
  sessions.set(name, session);
  return { metadata: readMetadata(bytes), runtime: `onnxruntime-web ${ort.env.versions.web}` };
}

async function run({ name, rows, values }: Request & { kind: "run" }): Promise<Ran> {
  const session = sessions.get(name);
  if (!session) throw new Error(`${name} is not open`);
  const tensor =
    values instanceof Uint8Array
      ? new ort.Tensor("uint8", values, [rows, 28, 28])
      : new ort.Tensor("float32", values, [rows, values.length / rows]);
  const start = performance.now();
  const results = await session.run({ [session.inputNames[0]]: tensor });
  const milliseconds = performance.now() - start;
  const outputs = Object.fromEntries(
    Object.entries(results).map(([output, { data }]) => [output, (data as Float32Array).slice()]),
  );
  return { outputs, milliseconds };
}
