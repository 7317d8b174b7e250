/** Two pins, and the path between them as a strip of images and as an animation. */
import { find } from "./dom";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { context, describe, inked, SIDE } from "./paint";
import { between } from "./plane";
import type { Site } from "./site";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";

const STRIP = 9;
const SECONDS = 3; // from one pin to the other

export function buildPins(store: Store, site: Site, models: Models, map: LatentMap): void {
  const strip = find<HTMLCanvasElement>("strip");
  const play = find<HTMLButtonElement>("play");
  let playing: { started: number; own: Float32Array | null } | null = null;
  strip.width = STRIP * SIDE;
  strip.height = SIDE;

  const paintStrip = latest(async ({ pins: [a, b] }: State) => {
    const to = context(strip);
    if (!a || !b) return to.clearRect(0, 0, strip.width, strip.height);
    const rows = [...Array(STRIP).keys()].map((i) => between(a, b, i / (STRIP - 1)));
    const { pixels } = await models.decode(Float32Array.from(rows.flatMap((row) => [...row])), STRIP);
    to.putImageData(inked(pixels, map.theme.ink, STRIP), 0, 0);
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
    // Anything else that moves the point stops the animation.
    if (playing && (changed.has("pins") || (changed.has("z") && state.z !== playing.own))) stop();
  });
  whenThemeChanges(() => paintStrip(store.state));
  show(store.state);
}
