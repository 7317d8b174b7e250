/** Opens the page, or says what is missing. */
import { buildChoices, buildLegend, buildSliders, buildSoftness } from "./controls";
import { DigitView } from "./digit";
import { find, settled } from "./dom";
import { buildLook } from "./look";
import { LatentMap } from "./map";
import { Models } from "./models";
import { buildPad } from "./pad";
import { buildPanel } from "./panel";
import { buildPins } from "./pins";
import { buildPlaced } from "./placed";
import { latentPlane, principalPlane } from "./plane";
import { save } from "./save";
import { buildSaveDigit } from "./savedigit";
import { Problem, readLatents, readSite } from "./site";
import { fromAddress, type State, Store, toAddress } from "./state";

// The smallest module with a SIMD instruction: (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt)
const SIMD = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
);

async function start(): Promise<void> {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(SIMD))
    throw new Problem(
      "This browser has no WebAssembly with SIMD, which the models need. " +
        "Firefox 89, Chrome 91, Safari 16.4 and later versions have it.",
    );
  const base = document.baseURI.replace(/[?#].*$/, "");
  const reading = readSite(base);
  const models = new Models(reading, base);
  const site = await reading;
  const [latents, opened] = await Promise.all([readLatents(site, base), models.open("renderer")]);
  // With many latents the origin does not decode to an image of the data, so the page starts at the first test image.
  const first = site.latent_dim > 2 ? latents.z.slice(0, site.latent_dim) : new Float32Array(site.latent_dim);
  const store = new Store(fromAddress(location.hash, first));

  const planes = { latents: latentPlane(site), principal: principalPlane(site) };
  const planeOf = (state: State) => planes[state.plane] ?? planes.latents;
  find("loading").hidden = true;
  find("page").hidden = false;
  const map = new LatentMap(store, latents, site.classes, planeOf(store.state), models);
  const showPlane = (state: State) => {
    if (map.plane !== planeOf(state)) map.show(planeOf(state));
    find("caption").textContent = map.plane.caption;
  };
  showPlane(store.state);
  if (!location.hash) map.reveal(store.state.z);
  store.listen((state, changed) => changed.has("plane") && showPlane(state));

  const tell = buildPanel(site, opened);
  const digit = new DigitView(store, models, map, site, latents, () => tell(digit));
  buildLook(store);
  buildSoftness(store);
  buildSliders(store, site);
  buildLegend(store, site, latents);
  buildChoices(store, site, (factor) => map.zoomBy(factor));
  buildPins(store, site, models, map);
  buildPad(store, site, models, map);
  buildPlaced(store, site, models, map, latents);
  buildSaveDigit(store, site, models, map, say);
  shareByAddress(store, first);
  find("save").addEventListener("click", () =>
    save(map, store.state).then(
      () => say("Saved."),
      (error) => say(String(error)),
    ),
  );
  await digit.first();
  performance.mark("usable");
  // For the console and the browser tests.
  Object.assign(window, { explorer: { site, store, models, map } });
  document.documentElement.dataset.ready = "";
}

function shareByAddress(store: Store, first: Float32Array): void {
  let written = location.hash.slice(1);
  const write = () => {
    written = toAddress(store.state);
    history.replaceState(null, "", `${location.pathname}${location.search}${written ? `#${written}` : ""}`);
  };
  store.listen(settled(300, write));
  addEventListener("hashchange", () => {
    if (location.hash.slice(1) !== written) store.change(fromAddress(location.hash, first));
  });
  find("share").addEventListener("click", async () => {
    write();
    try {
      await navigator.clipboard.writeText(location.href);
      say("Address copied. Whoever opens it sees what you see.");
    } catch {
      say("Could not copy. The address bar has the same address: copy it from there.");
    }
  });
}

const unsay = settled(6000, () => say(""));

function say(text: string): void {
  find("said").textContent = text;
  if (text) unsay();
}

start().catch((error: unknown) => {
  const known = error instanceof Problem;
  find("problem-text").textContent = known ? error.message : `Unexpected error: ${error}`;
  find("loading").hidden = true;
  find("page").hidden = true;
  find("problem").hidden = false;
  document.documentElement.dataset.ready = "";
  if (!known) throw error;
});
