/** The models as the page sees them: called in any order, loaded when first needed. */
import { SIDE } from "./paint";
import type { Answer, Given, Opened, Ran, Request } from "./protocol";
import { type ModelName, Problem, type Site } from "./site";
import { PICTURE, type Pixels, pixelsOf } from "./view";

type Unnumbered<T> = T extends unknown ? Omit<T, "id"> : never;

export interface Drawn {
  /** Grey levels in [0, 1], `[count, height, width]`; 1 is ink. */
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

  /** Draws the images of `count` latents, with the pixels that are asked for. */
  render(z: Float32Array, count: number, { rows, columns, pixel, softness }: Pixels): Promise<Drawn> {
    return this.#draw("renderer", {
      z: { values: z, shape: [count, z.length / count] },
      rows: { values: rows, shape: [rows.length] },
      columns: { values: columns, shape: [columns.length] },
      pixel: { values: Float32Array.of(pixel), shape: [1] },
      softness: { values: Float32Array.of(softness), shape: [1] },
    });
  }

  /** Images of 28 by 28 pixels, as the decoder gives them. */
  decode(z: Float32Array, count = 1): Promise<Drawn> {
    return this.render(z, count, pixelsOf(PICTURE, SIDE, 1));
  }

  /** The same by the int8 decoder. */
  decodeInt8(z: Float32Array): Promise<Drawn> {
    return this.#draw("decoder_int8", { z: { values: z, shape: [1, z.length] } });
  }

  /** Encodes one image: uint8 `[28, 28]`, 255 is ink. */
  async encode(image: Uint8Array): Promise<Encoded> {
    await this.open("encoder");
    const inputs = { image: { values: image, shape: [1, SIDE, SIDE] } };
    const { outputs } = await this.#ask<Ran>({ kind: "run", name: "encoder", inputs });
    return { mean: outputs.z_mean, logVar: outputs.z_log_var };
  }

  async #draw(name: ModelName, inputs: Record<string, Given>): Promise<Drawn> {
    await this.open(name);
    const { outputs, milliseconds } = await this.#ask<Ran>({ kind: "run", name, inputs });
    return { pixels: outputs.image, milliseconds };
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
