/** The pad: draw, drop an image, or take a test image. */
import { complain, find } from "./dom";
import { asMnist, readImage } from "./likeness";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { context, describe, digitCanvas, greys, inked } from "./paint";
import type { Point } from "./plane";
import { readDigit } from "./sheet";
import { Problem, type Site } from "./site";
import type { Store } from "./state";
import { whenThemeChanges } from "./theme";

const BRUSH = 22; // of the pad's 280 pixels; about two of MNIST's

export function buildPad(store: Store, site: Site, models: Models, map: LatentMap): void {
  const pad = find<HTMLCanvasElement>("pad");
  const strokes = document.createElement("canvas"); // white on black in every theme
  strokes.width = strokes.height = pad.width;
  const ink = strokes.getContext("2d", { willReadFrequently: true }) as CanvasRenderingContext2D;
  const problem = find("drawing-problem");
  let own: Uint8Array | null = null; // what the pad already shows

  /** Moves the point to where the encoder places the drawing. */
  const follow = latest(async (image: Uint8Array) => {
    try {
      store.change({ z: (await models.encode(image)).mean, held: true });
    } catch {} // reported by placed.ts
  });

  function change(image: Uint8Array | null): void {
    own = image;
    store.change({ drawing: image });
    if (image) follow(image);
  }

  function fill(image: Uint8Array | null): void {
    own = image;
    ink.fillStyle = "#000";
    ink.fillRect(0, 0, strokes.width, strokes.height);
    if (image) {
      const small = digitCanvas("");
      context(small).putImageData(inked(greys(image), "#ffffff"), 0, 0);
      ink.drawImage(small, 0, 0, strokes.width, strokes.height);
    }
    paintPad();
  }

  /** Paints the strokes in the ink colour, and returns their grey levels. */
  function paintPad(): Uint8ClampedArray {
    const image = ink.getImageData(0, 0, strokes.width, strokes.height);
    const found = image.data.filter((_, i) => i % 4 === 0);
    const [red, green, blue] = [1, 3, 5].map((start) => Number.parseInt(map.theme.ink.slice(start, start + 2), 16));
    for (const [i, value] of found.entries()) image.data.set([red, green, blue, value], i * 4);
    context(pad).putImageData(image, 0, 0);
    return found;
  }

  /** Uses 28 by 28 pixels as they are. */
  function take(image: Uint8Array): void {
    fill(image);
    change(image);
  }

  async function trying(work: () => Promise<void>): Promise<void> {
    complain(problem);
    try {
      await work();
    } catch (error) {
      complain(problem, error);
    }
  }

  const open = (file: File | undefined) =>
    trying(async () => {
      if (!file) return;
      const image = await readImage(file).catch(() => {
        throw new Problem(`${file.name} is not an image that this browser can read.`);
      });
      if (!image) throw new Problem(`${file.name} shows no ${site.noun}: no ink stands out from the background.`);
      take(image);
    });

  let from: Point | null = null;
  const stroke = (event: PointerEvent) => {
    const box = pad.getBoundingClientRect();
    const scale = pad.width / box.width;
    const to: Point = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    ink.strokeStyle = "#fff";
    ink.lineWidth = BRUSH;
    ink.lineCap = ink.lineJoin = "round";
    ink.beginPath();
    ink.moveTo(...(from ?? to));
    ink.lineTo(...to);
    ink.stroke();
    from = to;
    change(asMnist(Float32Array.from(paintPad()), strokes.width, strokes.height));
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    from = null;
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => from && stroke(event));
  for (const end of ["pointerup", "pointercancel"])
    pad.addEventListener(end, () => {
      from = null;
    });

  find("clear").addEventListener("click", () => {
    fill(null);
    change(null);
  });
  find("random-digit").addEventListener("click", () =>
    trying(async () => take(await readDigit(site, models.base, Math.floor(Math.random() * site.images)))),
  );
  const chosen = find<HTMLInputElement>("image-file");
  chosen.addEventListener("change", () => {
    void open(chosen.files?.[0]);
    chosen.value = ""; // so that the same file can be chosen again
  });
  const place = find("drawing");
  for (const kind of ["dragenter", "dragover"])
    place.addEventListener(kind, (event) => {
      event.preventDefault();
      place.classList.add("over");
    });
  for (const kind of ["dragleave", "drop"]) place.addEventListener(kind, () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    void open(event.dataTransfer?.files[0]);
  });

  store.listen((state, changed) => {
    if (changed.has("drawing") && state.drawing !== own) fill(state.drawing); // it came from the address
  });
  whenThemeChanges(paintPad);
  describe(pad, `A pad to draw on. You can also use a test ${site.noun} or an image file.`);
  fill(store.state.drawing);
}
