/** The models as the page sees them: called in any order, loaded when first needed. */
import type { Answer, Opened, Ran, Request } from "./protocol";
import { type ModelName, Problem, type Site } from "./site";

type Unnumbered<T> = T extends unknown ? Omit<T, "id"> : never;
export type Variant = "decoder" | "decoder_int8";

export interface Decoded {
  /** Grey levels in [0, 1], `[rows, 28, 28]`; 1 is ink. */
  pixels: Float32Array;
  milliseconds: number;
}

export interface Encoded {
  mean: Float32Array;
  logVar: Float32Array;
}

export class Models {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  readonly #opened = new Map<ModelName, Promise<Opened>>();
  #broken: Problem | null = null;
  #last = 0;

  /** `site` may still be loading: meanwhile the worker loads the runtime. */
  constructor(
    readonly site: Promise<Site>,
    readonly base: string,
  ) {
    this.#worker = new Worker(new URL("worker.js", base), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if ("problem" in data) waiting?.reject(new Problem(data.problem));
      else waiting?.resolve(data.result as never);
    };
    this.#worker.onerror = () => {
      this.#broken = new Problem("worker.js could not be started: it is missing, or your browser is too old.");
      for (const { reject } of this.#waiting.values()) reject(this.#broken);
    };
  }

  /** Loads a model once, and returns what its file says about itself. */
  open(name: ModelName): Promise<Opened> {
    let opened = this.#opened.get(name);
    if (!opened) {
      opened = this.site.then(({ files, latent_dim: latents }) => {
        const file = files[name];
        if (!file) throw new Problem(`This page was built without the model ${name}.`);
        return this.#ask<Opened>({ kind: "open", name, file, latents, base: this.base });
      });
      opened.catch(() => this.#opened.delete(name)); // so that the next call tries again
      this.#opened.set(name, opened);
    }
    return opened;
  }

  async decode(z: Float32Array, rows = 1, variant: Variant = "decoder"): Promise<Decoded> {
    await this.open(variant);
    const { outputs, milliseconds } = await this.#ask<Ran>({ kind: "run", name: variant, rows, values: z });
    return { pixels: outputs.image, milliseconds };
  }

  /** Encodes one image: uint8 `[28, 28]`, 255 is ink. */
  async encode(image: Uint8Array): Promise<Encoded> {
    await this.open("encoder");
    const { outputs } = await this.#ask<Ran>({ kind: "run", name: "encoder", rows: 1, values: image });
    return { mean: outputs.z_mean, logVar: outputs.z_log_var };
  }

  #ask<T>(request: Unnumbered<Request>): Promise<T> {
    if (this.#broken) return Promise.reject(this.#broken);
    const id = ++this.#last;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: never) => void, reject });
      this.#worker.postMessage({ ...request, id });
    });
  }
}

/** Calls `work` with the newest argument; arguments that were superseded while it was busy are skipped. */
export function latest<T>(work: (argument: T) => Promise<void>): (argument: T) => void {
  let waiting: { argument: T } | null = null;
  let busy = false;
  const go = async () => {
    busy = true;
    for (let next = waiting; next; next = waiting) {
      waiting = null;
      await work(next.argument);
    }
    busy = false;
  };
  return (argument) => {
    waiting = { argument };
    if (!busy) void go();
  };
}
