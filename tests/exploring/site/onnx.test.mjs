// What a file says of itself, from protobuf written by hand after onnx.proto.
import assert from "node:assert/strict";
import test from "node:test";
import { readMetadata } from "../../../pipeline/exploring/site/src/onnx";

const text = (words) => [...new TextEncoder().encode(words)];
/** A field with a length, which takes two bytes from 128 on. */
const field = (number, bytes) => {
  const size = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
  return [(number << 3) | 2, ...size, ...bytes];
};
const property = (key, value) => field(14, [...field(1, text(key)), ...field(2, text(value))]);

test("the properties are found among the other fields", () => {
  const model = [
    ...[8, 8], // ir_version, a varint
    ...property("latent_dim", "2"),
    ...field(7, new Array(300).fill(0x72)), // a graph, whose bytes look like properties
    ...[(9 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8], // eight bytes
    ...[(10 << 3) | 5, 1, 2, 3, 4], // four bytes
    ...property("data_source", "Ziffern, größer als 127: é".repeat(10)),
  ];
  assert.deepEqual(readMetadata(Uint8Array.from(model)), {
    latent_dim: "2",
    data_source: "Ziffern, größer als 127: é".repeat(10),
  });
});

test("a model without properties says nothing", () => {
  assert.deepEqual(readMetadata(Uint8Array.of(8, 8)), {});
});

test("a file that breaks off in a number is not ONNX", () => {
  assert.throws(() => readMetadata(Uint8Array.of(8, 0x80)), /not an ONNX file/);
});
