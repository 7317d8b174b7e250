/** The int8 decoder beside the float32 model, both with the data's 28 by 28 pixels. */
import { complain, find } from "./dom";
import type { LatentMap } from "./map";
import { latest, type Models } from "./models";
import { paint, SIDE } from "./paint";
import type { State, Store } from "./state";
import { whenThemeChanges } from "./theme";
import { Times } from "./times";

export class Comparison {
  readonly times = new Times(SIDE);

  constructor(
    store: Store,
    readonly models: Models,
    readonly map: LatentMap,
    readonly whenDrawn: () => void,
  ) {
    const compare = find<HTMLInputElement>("compare");
    const next = latest((state: State) => this.#draw(state));
    const show = (state: State) => {
      compare.checked = state.compare;
      find("int8").hidden = !state.compare;
      next(state);
    };
    compare.addEventListener("change", () => store.change({ compare: compare.checked }));
    store.listen((state, changed) => (changed.has("z") || changed.has("compare")) && show(state));
    whenThemeChanges(() => next(store.state));
    show(store.state);
  }

  async #draw({ z, compare }: State): Promise<void> {
    const problem = find("compare-problem");
    complain(problem);
    if (!compare) return;
    try {
      const [{ pixels: exact }, { pixels, milliseconds }] = await Promise.all([
        this.models.decode(z),
        this.models.decodeInt8(z),
      ]);
      this.times.add(milliseconds);
      paint(find<HTMLCanvasElement>("digit-float32"), exact, this.map.theme.ink);
      paint(find<HTMLCanvasElement>("digit-int8"), pixels, this.map.theme.ink);
      const largest = pixels.reduce((most, value, i) => Math.max(most, Math.abs(value - exact[i])), 0);
      find("int8-caption").textContent = `They differ by at most ${largest.toFixed(3)}.`;
      this.whenDrawn();
    } catch (error) {
      complain(problem, error);
    }
  }
}
