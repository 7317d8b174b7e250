/** Two pins, and the path between them as a strip of images and as an animation. */
import { find } from "./dom";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { context, describe, deviceSide, paintEach } from "./paint";
import { between } from "./plane";
import type { Site } from "./site";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";
import { PICTURE, pixelsOf } from "./view";

const STRIP = 9;
const SECONDS = 3; // from one pin to the other

export function buildPins(store: Store, site: Site, models: Models, map: LatentMap): void {
  const strip = find<HTMLCanvasElement>("strip");
  const play = find<HTMLButtonElement>("play");
  let playing: { started: number; own: Float32Array | null } | null = null;

  const paintStrip = latest(async ({ pins: [a, b], softness }: State) => {
    if (!a || !b) return;
    const rows = [...Array(STRIP).keys()].map((i) => between(a, b, i / (STRIP - 1)));
    const latents = Float32Array.from(rows.flatMap((row) => [...row]));
    const side = Math.ceil(deviceSide(strip) / STRIP);
    const { pixels } = await models.render(latents, STRIP, pixelsOf(PICTURE, side, softness));
    strip.width = STRIP * side;
    strip.height = side;
    paintEach(context(strip), pixels, map.theme.ink, side, (i) => [i * side, 0]);
    describe(strip, `${STRIP} ${site.noun}s on the path from pin A to pin B`);
  });

  const show = (state: State) => {
    const [a, b] = state.pins;
    const both = a !== null && b !== null;
    find("strip-box").hidden = !both;
    find("pins-help").hidden = both;
    find<HTMLButtonElement>("unpin").disabled = !a && !b;
    play.disabled = !both;
    paintStrip(state);
  };

  const stop = () => {
    playing = null;
    play.textContent = "Play";
  };
  const step = (now: number) => {
    const [a, b] = store.state.pins;
    if (!playing || !a || !b) return;
    const share = ((now - playing.started) / 1000 / SECONDS) % 2;
    playing.own = between(a, b, Math.max(0, share < 1 ? share : 2 - share));
    store.change({ z: playing.own, held: true });
    requestAnimationFrame(step);
  };

  for (const [i, id] of ["pin-a", "pin-b"].entries())
    find(id).addEventListener("click", () => {
      const { z, pins } = store.state;
      store.change({ pins: i === 0 ? [z, pins[1]] : [pins[0], z] });
    });
  find("unpin").addEventListener("click", () => store.change({ pins: [null, null] }));
  play.addEventListener("click", () => {
    if (playing) return stop();
    playing = { started: performance.now(), own: null };
    play.textContent = "Stop";
    requestAnimationFrame(step);
  });
  strip.addEventListener("click", (event) => {
    const [a, b] = store.state.pins;
    if (!a || !b) return;
    const place = Math.floor((event.offsetX / strip.clientWidth) * STRIP);
    store.change({ z: between(a, b, Math.min(Math.max(place, 0), STRIP - 1) / (STRIP - 1)), held: true });
  });
  store.listen((state, changed) => {
    if (changed.has("pins")) show(state);
    else if (changed.has("softness")) paintStrip(state);
    // Anything else that moves the point stops the animation.
    if (playing && (changed.has("pins") || (changed.has("z") && state.z !== playing.own))) stop();
  });
  whenThemeChanges(() => paintStrip(store.state));
  new ResizeObserver(() => paintStrip(store.state)).observe(strip);
  show(store.state);
}
