/** The drawing, encoded: its place and uncertainty, its reconstruction, and the nearest test images. */
import { complain, find, make, words } from "./dom";
import { excessOf } from "./excess";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { digitCanvas, greys, paint } from "./paint";
import { nearest } from "./plane";
import { readDigit } from "./sheet";
import { type Latents, nameOf, type Site } from "./site";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";
import { Unusual } from "./unusual";

const NEIGHBOURS = 6;

export function buildPlaced(store: Store, site: Site, models: Models, map: LatentMap, latents: Latents): void {
  const problem = find("drawing-problem");
  const unusual = new Unusual(site);

  const show = latest(async ({ drawing }: State) => {
    complain(problem);
    find("drawn").hidden = !drawing;
    find("draw-help").hidden = drawing !== null;
    if (!drawing) {
      map.placed = null;
      unusual.hide();
      return map.redraw();
    }
    try {
      const image = greys(drawing);
      paint(find<HTMLCanvasElement>("seen"), image, map.theme.ink);
      const { mean, logVar } = await models.encode(drawing);
      const { pixels } = await models.decode(mean);
      paint(find<HTMLCanvasElement>("reconstruction"), pixels, map.theme.ink);
      unusual.show(excessOf(image, pixels, mean, logVar), map.theme.accent);
      const beside = nearest(latents.z, mean, NEIGHBOURS);
      map.placed = { mean, logVar, rows: beside.map(({ row }) => row) };
      map.reveal(mean);
      map.redraw();
      const deviations = logVar.map((value) => Math.exp(value / 2));
      find("placed").textContent = `z_mean ${words(mean)}, standard deviation ${words(deviations)}`;
      await showNeighbours(beside);
    } catch (error) {
      unusual.hide();
      complain(problem, error);
    }
  });

  async function showNeighbours(beside: { row: number; distance: number }[]): Promise<void> {
    const items = await Promise.all(
      beside.map(async ({ row, distance }) => {
        const name = nameOf(site, latents.labels, row);
        const canvas = digitCanvas(`Test ${site.noun} ${row}: ${name}`);
        paint(canvas, greys(await readDigit(site, models.base, row)), map.theme.ink);
        return make("li", {}, canvas, `${name} · ${distance.toFixed(2)}`);
      }),
    );
    find("neighbours").replaceChildren(...items);
  }

  store.listen((state, changed) => changed.has("drawing") && show(state));
  whenThemeChanges(() => show(store.state));
  if (store.state.drawing) show(store.state);
}
