/** Reads the metadata of an ONNX file, which the runtime does not expose. */

const METADATA_PROPS = 14; // of onnx.ModelProto; each entry has key 1 and value 2
const LENGTH_DELIMITED = 2;

/** The metadata of a serialised onnx.ModelProto. */
export function readMetadata(model: Uint8Array): Record<string, string> {
  const text = new TextDecoder();
  const metadata: Record<string, string> = {};
  for (const [field, entry] of fields(model)) {
    if (field !== METADATA_PROPS) continue;
    const parts = new Map([...fields(entry)].map(([number, value]) => [number, text.decode(value)]));
    metadata[parts.get(1) ?? ""] = parts.get(2) ?? "";
  }
  return metadata;
}

/** The number and bytes of each length-delimited field of a protobuf message; other fields are skipped. */
function* fields(message: Uint8Array): Generator<[number, Uint8Array]> {
  let place = 0;
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      if (place >= message.length) throw new Error("not an ONNX file");
      const byte = message[place++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (place < message.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === LENGTH_DELIMITED) {
      const size = varint();
      place += size;
      yield [tag >>> 3, message.subarray(place - size, place)];
    } else if (wire === 0) varint();
    else place += wire === 1 ? 8 : 4;
  }
}
