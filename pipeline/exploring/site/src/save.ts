/** Saves what is seen as one PNG: the map, the image and the strip between the pins. */
import { find, make } from "./dom";
import type { LatentMap } from "./map";
import { context } from "./paint";
import type { State } from "./state";

const GAP = 16;
const SIDE = 224; // of the image

export async function save(map: LatentMap, { z, pins }: State): Promise<void> {
  const scale = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = map.element;
  const strip = pins[0] && pins[1] ? find<HTMLCanvasElement>("strip") : null;
  const stripHeight = strip ? (width / strip.width) * strip.height : 0;
  const canvas = make("canvas");
  canvas.width = (width + SIDE + 3 * GAP) * scale;
  canvas.height = (Math.max(height, SIDE + 160) + (strip ? stripHeight + GAP : 0) + 2 * GAP) * scale;
  const to = context(canvas);
  to.scale(scale, scale);
  to.fillStyle = map.theme.paper;
  to.fillRect(0, 0, canvas.width, canvas.height);
  for (const layer of [map.base, map.marks]) to.drawImage(layer, GAP, GAP, width, height);
  to.imageSmoothingQuality = "high";
  const left = width + 2 * GAP;
  to.drawImage(find<HTMLCanvasElement>("digit"), left, GAP, SIDE, SIDE);
  if (strip) to.drawImage(strip, GAP, height + 2 * GAP, width, stripHeight);
  to.strokeStyle = map.theme.faint;
  to.strokeRect(GAP, GAP, width, height);
  to.strokeRect(left, GAP, SIDE, SIDE);
  to.fillStyle = map.theme.ink;
  to.font = "14px system-ui, sans-serif";
  to.fillText(find("point").textContent ?? "", left, GAP + SIDE + 24, SIDE);
  for (const [i, line] of lines(to, find("caption").textContent ?? "", SIDE).entries())
    to.fillText(line, left, GAP + SIDE + 50 + i * 20);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
  if (!blob) throw new Error("The browser could not make the picture.");
  download(blob, `latents-${nameOf(z)}.png`);
}

export function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The first latents, for the name of a file. */
export function nameOf(z: Float32Array): string {
  return Array.from(z.slice(0, 2), (value) => value.toFixed(2)).join("_");
}

/** Breaks text into lines of at most `width` pixels. */
function lines(to: CanvasRenderingContext2D, text: string, width: number): string[] {
  const found = [""];
  for (const word of text.split(" ")) {
    const longer = `${found.at(-1)} ${word}`.trim();
    if (to.measureText(longer).width > width) found.push(word);
    else found[found.length - 1] = longer;
  }
  return found;
}
