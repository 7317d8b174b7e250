/** Everything that the page shows. The address holds the same, so that it can be shared. */
import { SIDE } from "./paint";
import { inside, LEAST_SOFTNESS, PICTURE } from "./view";

/** The centre of what is visible, and its zoom: of the map in the plane's coordinates, of the image in its sides. */
export interface View {
  x: number;
  y: number;
  zoom: number;
}

export interface State {
  /** The point that is decoded. */
  z: Float32Array;
  /** Whether the point stays while the pointer moves over the map. */
  held: boolean;
  view: View;
  plane: "latents" | "principal";
  layer: "dots" | "digits" | "both";
  /** The labels of the classes that the map hides. */
  hidden: ReadonlySet<number>;
  pins: readonly [Float32Array | null, Float32Array | null];
  /** uint8 `[28, 28]`, 255 is ink. */
  drawing: Uint8Array | null;
  compare: boolean;
  /** What part of the image at the point is visible. */
  look: View;
  /** Of edges: 1 is as trained, down to 0.05. */
  softness: number;
  /** Whether the image fills the window. */
  large: boolean;
}

export type Changed = ReadonlySet<keyof State>;

export const WHOLE: View = { x: 0, y: 0, zoom: 1 };
const PLANES = ["latents", "principal"] as const;
const LAYERS = ["dots", "digits", "both"] as const;

/** The state of a page that was just opened, at the point `z`. */
export function initial(z: Float32Array): State {
  return {
    z,
    held: false,
    view: WHOLE,
    plane: "latents",
    layer: "dots",
    hidden: new Set(),
    pins: [null, null],
    drawing: null,
    compare: false,
    look: PICTURE,
    softness: 1,
    large: false,
  };
}

export class Store {
  readonly #listeners: ((state: State, changed: Changed) => void)[] = [];

  constructor(public state: State) {}

  change(changes: Partial<State>): void {
    this.state = { ...this.state, ...changes };
    const changed = new Set(Object.keys(changes) as (keyof State)[]);
    for (const listener of this.#listeners) listener(this.state, changed);
  }

  listen(listener: (state: State, changed: Changed) => void): void {
    this.#listeners.push(listener);
  }
}

/** The state as the fragment of an address, without the values that are still the defaults. */
export function toAddress(state: State): string {
  const words: string[] = [];
  const say = (key: string, value: string) => words.push(`${key}=${value}`);
  say("z", numbers(state.z));
  if (state.held) say("held", "1");
  const { x, y, zoom } = state.view;
  if (x !== 0 || y !== 0 || zoom !== 1) say("view", numbers([x, y, zoom]));
  if (state.plane !== "latents") say("plane", state.plane);
  if (state.layer !== "dots") say("layer", state.layer);
  if (state.hidden.size) say("hide", [...state.hidden].sort((a, b) => a - b).join(","));
  for (const [i, name] of (["a", "b"] as const).entries()) {
    const pin = state.pins[i];
    if (pin) say(name, numbers(pin));
  }
  if (state.drawing) say("drawing", packImage(state.drawing));
  if (state.compare) say("compare", "1");
  if (state.look.zoom !== 1) say("look", numbers([state.look.x, state.look.y, state.look.zoom], 7));
  if (state.softness !== 1) say("soft", numbers([state.softness]));
  if (state.large) say("large", "1");
  return words.join("&");
}

/** The state in an address; values that are invalid or belong to another model get their defaults. */
export function fromAddress(fragment: string, first: Float32Array): State {
  const latents = first.length;
  const words = new Map(
    fragment
      .replace(/^#/, "")
      .split("&")
      .map((word) => word.split("=", 2) as [string, string]),
  );
  const point = (key: string) => vector(words.get(key), latents);
  const state = initial(first);
  const view = vector(words.get("view"), 3);
  if (view && view[2] >= 0.1) state.view = { x: view[0], y: view[1], zoom: view[2] };
  state.z = point("z") ?? state.z;
  state.held = words.get("held") === "1";
  if (latents > 2) state.plane = PLANES.find((name) => name === words.get("plane")) ?? state.plane;
  state.layer = LAYERS.find((name) => name === words.get("layer")) ?? state.layer;
  const hidden = (words.get("hide") ?? "").split(",");
  state.hidden = new Set(hidden.filter((word) => /^\d{1,3}$/.test(word)).map(Number));
  state.pins = [point("a"), point("b")];
  state.drawing = unpackImage(words.get("drawing"));
  state.compare = words.get("compare") === "1";
  const look = vector(words.get("look"), 3);
  if (look && look[2] >= 1) state.look = inside({ x: look[0], y: look[1], zoom: look[2] }, SIDE);
  const [softness] = vector(words.get("soft"), 1) ?? [];
  if (softness >= LEAST_SOFTNESS && softness <= 1) state.softness = +softness.toFixed(4);
  state.large = words.get("large") === "1";
  return state;
}

function numbers(values: ArrayLike<number>, decimals = 4): string {
  return Array.from(values, (value) => String(+value.toFixed(decimals))).join(",");
}

function vector(text: string | undefined, size: number): Float32Array | null {
  const values = (text ?? "").split(",").map(Number.parseFloat);
  return values.length === size && values.every(Number.isFinite) ? Float32Array.from(values) : null;
}

/** An image in base64url. Most of it is zeros, so each run of zeros is a zero and how many more follow. */
function packImage(image: Uint8Array): string {
  const bytes: number[] = [];
  for (let i = 0; i < image.length; i++) {
    bytes.push(image[i]);
    if (image[i]) continue;
    const start = i;
    while (image[i + 1] === 0 && i - start < 255) i++;
    bytes.push(i - start);
  }
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function unpackImage(text: string | undefined): Uint8Array | null {
  if (!text) return null;
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    const image: number[] = [];
    for (let i = 0; i < bytes.length && image.length < 784; i++) {
      const value = bytes.charCodeAt(i);
      image.push(value);
      if (value === 0) image.push(...new Array(bytes.charCodeAt(++i)).fill(0));
    }
    return image.length === 784 ? Uint8Array.from(image) : null;
  } catch {
    return null;
  }
}
