// Runs a bundle's models on its test vectors, in Node and in a browser alike; run_vectors.py is the same in Python.

const ABSOLUTE = 1e-4;
const RELATIVE = 1e-4;
const ELEMENT_TYPES = { 1: ["float32", Float32Array], 2: ["uint8", Uint8Array] }; // of onnx.TensorProto
const [DIMS, DATA_TYPE, NAME, RAW_DATA] = [1, 2, 8, 9]; // numbers of its fields

/** Per file the differences of its outputs in order, or the error that the runtime threw. `read(path)` gives bytes. */
export async function check(ort, options, files, read) {
  const results = {};
  for (const file of files) {
    const vectors = `${file.slice(0, file.lastIndexOf("/"))}/test_data_set_0`;
    try {
      const session = await ort.InferenceSession.create(await read(file), options);
      const inputs = {};
      for (const i of session.inputNames.keys()) {
        const { name, type, data, dims } = readTensor(await read(`${vectors}/input_${i}.pb`));
        inputs[name] = new ort.Tensor(type, data, dims);
      }
      const outputs = await session.run(inputs);
      results[file] = [];
      for (const [i, name] of session.outputNames.entries())
        results[file].push(differences(outputs[name], readTensor(await read(`${vectors}/output_${i}.pb`))));
    } catch (error) {
      results[file] = { error: String(error) };
    }
  }
  return results;
}

/** Shape and absolute differences; `beyond` is the largest as a multiple of what is allowed to float32. */
function differences(found, expected) {
  const of = (tensor) => `${tensor.type}[${tensor.dims.join()}]`;
  if (of(found) !== of(expected)) return { error: `${of(found)} instead of ${of(expected)}` };
  const result = { shape: [...found.dims], largest: 0, mean: 0, beyond: 0 };
  expected.data.forEach((value, i) => {
    const difference = Math.abs(found.data[i] - value);
    result.largest = Math.max(result.largest, difference); // not a number stays so, and is null in JSON
    result.mean += difference / expected.data.length;
    result.beyond = Math.max(result.beyond, difference / (ABSOLUTE + RELATIVE * Math.abs(value)));
  });
  return result;
}

/** The tensor in a serialized onnx.TensorProto that keeps its elements as raw data. */
function readTensor(bytes) {
  let [dims, dataType, name, raw] = [[], 0, "", null];
  for (const [field, value] of fields(bytes)) {
    if (field === DIMS) dims.push(...(typeof value === "number" ? [value] : varints(value)));
    else if (field === DATA_TYPE) dataType = value;
    else if (field === NAME) name = new TextDecoder().decode(value);
    else if (field === RAW_DATA) raw = value;
  }
  const [type, TypedArray] = ELEMENT_TYPES[dataType];
  return { name, type, dims, data: new TypedArray(raw.slice().buffer) };
}

/** Number and value of each field of a protobuf message. */
function* fields(bytes) {
  for (let position = 0; position < bytes.length; ) {
    let tag, value;
    [position, tag] = varint(bytes, position);
    [position, value] = varint(bytes, position); // the number itself, or the length of what follows
    if ((tag & 7) === 2) value = bytes.subarray(position, (position += value));
    else if (tag & 7) throw new Error(`field ${tag >> 3} has wire type ${tag & 7}`);
    yield [tag >> 3, value];
  }
}

function* varints(bytes) {
  for (let position = 0, value; position < bytes.length; yield value) [position, value] = varint(bytes, position);
}

function varint(bytes, position) {
  for (let value = 0, scale = 1; ; scale *= 128) {
    const byte = bytes[position++];
    value += (byte & 127) * scale;
    if (byte < 128) return [position, value];
  }
}
