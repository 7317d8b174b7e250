/** Saves what is visible of the image at the point as a PNG of any size. */
import { complain, find } from "./dom";
import { strips } from "./draw";
import type { LatentMap } from "./map";
import type { Models } from "./models";
import { channels, levels } from "./paint";
import { PngWriter } from "./png";
import { download, nameOf } from "./save";
import { Problem, type Site } from "./site";
import type { State, Store } from "./state";
import { inside } from "./view";

const MOST = 32_768; // pixels along a side: a thousand million, which take a minute or so

export function buildSaveDigit(
  store: Store,
  site: Site,
  models: Models,
  map: LatentMap,
  say: (text: string) => void,
): void {
  const size = find<HTMLInputElement>("size");
  const button = find<HTMLButtonElement>("save-digit");
  const problem = find("size-problem");
  const label = button.textContent;
  let stopped: AbortController | null = null;

  button.addEventListener("click", async () => {
    if (stopped) return stopped.abort();
    stopped = new AbortController();
    const { signal } = stopped;
    const { state } = store;
    complain(problem);
    try {
      const side = sizeOf(size.value);
      const blob = await enlarge(models, state, side, [map.theme.paper, map.theme.ink], (share) => {
        button.textContent = `Stop (${Math.floor(share * 100)} %)`;
        signal.throwIfAborted();
      });
      download(blob, `${site.noun}-${nameOf(state.z)}-${side}.png`);
      say("Saved.");
    } catch (error) {
      if (signal.aborted) say("Stopped; nothing was saved.");
      else complain(problem, error);
    }
    stopped = null;
    button.textContent = label;
  });
}

/** The size that a person typed. */
export function sizeOf(text: string): number {
  const side = Number(text);
  if (text.trim() && Number.isInteger(side) && side >= 1 && side <= MOST) return side;
  throw new Problem(
    `The size is ${text.trim() || "empty"}, expected whole pixels from 1 to ${MOST.toLocaleString("en")}.`,
  );
}

async function enlarge(
  models: Models,
  { z, look, softness }: State,
  side: number,
  colours: [string, string],
  tell: (share: number) => void,
): Promise<Blob> {
  const file = new PngWriter(side, side, shades(...colours));
  for await (const { top, pixels } of strips(models, z, inside(look, side), side, softness)) {
    await file.write(levels(pixels));
    tell(top / side);
  }
  return file.finish();
}

/** 256 colours from paper to ink. */
function shades(paper: string, ink: string): Uint8Array {
  const [from, to] = [channels(paper), channels(ink)];
  return Uint8Array.from({ length: 768 }, (_, i) => {
    const share = Math.floor(i / 3) / 255;
    return Math.round(from[i % 3] * (1 - share) + to[i % 3] * share);
  });
}
