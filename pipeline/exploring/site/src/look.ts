/** Zooms into the image at the point: wheel, fingers, keys and buttons. Enlarges it to the window. */
import { select } from "d3-selection";
import { type D3ZoomEvent, zoom } from "d3-zoom";
import { find } from "./dom";
import { deviceSide } from "./paint";
import type { State, Store, View } from "./state";
import { fromTransform, inside, mostZoom, PICTURE, panned, toTransform, zoomed } from "./view";

const STEP = 1.5; // of a button or key
const PAN = 0.1; // of what is visible, for an arrow key
const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-PAN, 0],
  ArrowRight: [PAN, 0],
  ArrowUp: [0, -PAN],
  ArrowDown: [0, PAN],
};

export function buildLook(store: Store): void {
  const element = find("look");
  const change = (view: View) => store.change({ look: inside(view, deviceSide(element)) });
  const zoomBy = (factor: number) => change(zoomed(store.state.look, factor));
  let own: View | null = null; // what d3-zoom knows already

  const zooming = zoom<HTMLElement, unknown>()
    // One finger scrolls the page as long as there is nothing to pan.
    .filter(
      (event) => !event.button && (!event.touches || event.touches.length > 1 || element.classList.contains("zoomed")),
    )
    .on("zoom", ({ transform, sourceEvent }: D3ZoomEvent<HTMLElement, unknown>) => {
      if (!sourceEvent) return;
      own = inside(fromTransform(transform, element.clientWidth), deviceSide(element));
      store.change({ look: own });
    });
  select(element).call(zooming).on("dblclick.zoom", null);

  const tellZoom = () => {
    const wide = element.clientWidth;
    zooming.scaleExtent([1, mostZoom(deviceSide(element))]).translateExtent([
      [0, 0],
      [wide, wide],
    ]);
    select(element).call(zooming.transform, toTransform(store.state.look, wide));
  };
  const show = ({ look, large }: State) => {
    element.classList.toggle("zoomed", look.zoom > 1);
    if (look !== own) tellZoom();
    enlarge(large);
  };

  element.addEventListener("dblclick", () => change(PICTURE));
  element.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && store.state.look.zoom > 1) change(panned(store.state.look, ...arrow));
    else if (event.key === "+" || event.key === "=") zoomBy(STEP);
    else if (event.key === "-") zoomBy(1 / STEP);
    else if (event.key === "0") change(PICTURE);
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", ({ key }) => key === "Escape" && store.state.large && store.change({ large: false }));
  find("look-in").addEventListener("click", () => zoomBy(STEP));
  find("look-out").addEventListener("click", () => zoomBy(1 / STEP));
  find("look-whole").addEventListener("click", () => change(PICTURE));
  find("enlarge").addEventListener("click", () => store.change({ large: !store.state.large }));
  new ResizeObserver(tellZoom).observe(element);
  store.listen((state, changed) => (changed.has("look") || changed.has("large")) && show(state));
  show(store.state);
}

/** The image's card fills the window; what it covers takes no keys. */
function enlarge(large: boolean): void {
  const card = find("digit-card");
  card.classList.toggle("enlarged", large);
  find("enlarge").textContent = large ? "Back" : "Enlarge";
  for (const other of document.querySelectorAll<HTMLElement>("header, main > section"))
    other.inert = large && other !== card;
}
