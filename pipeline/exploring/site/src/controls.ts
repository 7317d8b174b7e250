/** The sliders, the legend, the map's options and the buttons around it. */
import { find, make } from "./dom";
import { byActivity } from "./plane";
import { kindOf, type Latents, type Site } from "./site";
import { type State, type Store, WHOLE } from "./state";
import { readTheme, whenThemeChanges } from "./theme";
import { LEAST_SOFTNESS } from "./view";

/** A slider for each latent, the most active first. */
export function buildSliders(store: Store, site: Site): void {
  const sliders = byActivity(site).map((latent) => {
    const reach = Math.max(4, Math.ceil(site.step[latent] * 32767));
    const input = make("input", { type: "range", min: String(-reach), max: String(reach), step: "0.01" });
    const output = make("output");
    input.ariaLabel = `Latent ${latent}, KL ${site.kl[latent].toFixed(2)} nats`;
    input.addEventListener("input", () => {
      const z = store.state.z.slice();
      z[latent] = input.valueAsNumber;
      store.change({ z, held: true });
    });
    const show = ({ z }: State) => {
      input.value = String(z[latent]);
      output.textContent = z[latent].toFixed(2).replace("-", "−");
    };
    const name = make("span", { title: `KL ${site.kl[latent].toFixed(2)} nats` }, `z[${latent}]`);
    find("sliders").append(make("div", { className: "slider" }, name, input, output));
    return show;
  });
  const show = (state: State) => {
    for (const slider of sliders) slider(state);
  };
  show(store.state);
  store.listen((state, changed) => changed.has("z") && show(state));
  find("origin").addEventListener("click", () => store.change({ z: new Float32Array(site.latent_dim), held: true }));
  find("draw-prior").addEventListener("click", () =>
    store.change({ z: Float32Array.from({ length: site.latent_dim }, gaussian), held: true }),
  );
}

/** How sharp edges are, on a logarithmic scale: what is felt is the ratio. */
export function buildSoftness(store: Store): void {
  const input = find<HTMLInputElement>("softness");
  const output = find("softness-value");
  input.min = String(Math.ceil(Math.log10(LEAST_SOFTNESS) * 100) / 100);
  input.addEventListener("input", () => store.change({ softness: +(10 ** input.valueAsNumber).toPrecision(3) }));
  const show = ({ softness }: State) => {
    input.value = String(Math.log10(softness));
    output.textContent = softness.toFixed(softness < 0.1 ? 3 : 2);
    input.ariaValueText = softness === 1 ? "1, as trained" : String(softness);
  };
  show(store.state);
  store.listen((state, changed) => changed.has("softness") && show(state));
}

/** Box & Muller (1958). */
function gaussian(): number {
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

/** A button for each class, which hides or shows its dots; nothing where there are no classes. */
export function buildLegend(store: Store, site: Site, latents: Latents): void {
  const present = new Set(latents.labels);
  const kind = kindOf(site);
  const buttons = [...site.classes.entries()]
    .filter(([label]) => present.has(label))
    .map(([label, name]) => {
      const swatch = make("span", { className: "swatch" });
      const button = make("button", { type: "button", className: "key" }, swatch, name);
      button.ariaLabel = `${kind[0].toUpperCase()}${kind.slice(1)} ${name}`;
      button.addEventListener("click", () => {
        const hidden = new Set(store.state.hidden);
        if (!hidden.delete(label)) hidden.add(label);
        store.change({ hidden });
      });
      find("legend").append(button);
      return { label, button, swatch };
    });
  find("legend").hidden = buttons.length === 0;
  const paint = () => {
    const { classes } = readTheme(site.classes.length);
    for (const { label, swatch } of buttons) swatch.style.setProperty("--colour", classes[label]);
  };
  paint();
  whenThemeChanges(paint);
  const all = make("button", { type: "button", className: "key" }, "all");
  all.addEventListener("click", () => {
    const none = store.state.hidden.size === 0;
    store.change({ hidden: new Set(none ? buttons.map(({ label }) => label) : []) });
  });
  find("legend").append(all);
  const show = ({ hidden }: State) => {
    for (const { label, button } of buttons) button.ariaPressed = String(!hidden.has(label));
    all.textContent = hidden.size ? "all" : "none";
  };
  show(store.state);
  store.listen((state, changed) => changed.has("hidden") && show(state));
}

/** The options of the map: the layer, the plane and the zoom buttons. */
export function buildChoices(store: Store, site: Site, zoomBy: (factor: number) => void): void {
  const layers = [...document.querySelectorAll<HTMLInputElement>("input[name=layer]")];
  for (const input of layers)
    input.addEventListener("change", () => store.change({ layer: input.value as State["layer"] }));
  const plane = find<HTMLSelectElement>("plane");
  find("plane-choice").hidden = site.latent_dim < 3;
  plane.addEventListener("change", () => store.change({ plane: plane.value as State["plane"], view: WHOLE }));
  const show = (state: State) => {
    for (const input of layers) input.checked = input.value === state.layer;
    plane.value = state.plane;
  };
  show(store.state);
  store.listen(show);
  find("zoom-in").addEventListener("click", () => zoomBy(1.5));
  find("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  find("zoom-whole").addEventListener("click", () => store.change({ view: WHOLE }));
}
