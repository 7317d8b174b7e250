/** The messages between the page and its worker. */
import type { ListedFile, ModelName } from "./site";

export type Request =
  | { id: number; kind: "open"; name: ModelName; file: ListedFile; latents: number; base: string }
  | { id: number; kind: "run"; name: ModelName; inputs: Record<string, Given> };

/** An input of a model. */
export interface Given {
  values: Float32Array | Uint8Array;
  shape: number[];
}

export interface Opened {
  metadata: Record<string, string>;
  runtime: string;
}

export interface Ran {
  outputs: Record<string, Float32Array>;
  /** The time that the model took, without the messages. */
  milliseconds: number;
}

export type Answer = { id: number; result: Opened | Ran } | { id: number; problem: string };
