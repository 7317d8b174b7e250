// node node.mjs BUNDLE encoder/model.onnx ... : the test vectors in onnxruntime-node; prints differences as JSON.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as ort from "onnxruntime-node";
import { check } from "./run_vectors.mjs";

const [bundle, ...files] = process.argv.slice(2);
const read = async (path) => new Uint8Array(await readFile(join(bundle, path)));
const results = await check(ort, { executionProviders: ["cpu"] }, files, read);
console.log(JSON.stringify({ version: ort.env.versions.node, results }));
