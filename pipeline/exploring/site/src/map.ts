/** The map: two canvases, zoomed and panned by d3-zoom; mouse, touch and keys move the point. */
import { select } from "d3-selection";
import { type D3ZoomEvent, type ZoomBehavior, zoom } from "d3-zoom";
import { find, nextFrame, settled } from "./dom";
import { Dots } from "./dots";
import { Frame } from "./frame";
import { Manifold } from "./manifold";
import { drawAxes, drawMarks, type Placed } from "./marks";
import type { Models } from "./models";
import { context } from "./paint";
import { move, type Plane, type Point, project } from "./plane";
import type { Latents } from "./site";
import { type Changed, type State, type Store, WHOLE } from "./state";
import { readTheme, type Theme, whenThemeChanges } from "./theme";

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};
const STEP = 0.02; // of the visible width, for an arrow key
const ZOOMS: [number, number] = [0.4, 60];

export class LatentMap {
  readonly element = find("map");
  readonly base = find<HTMLCanvasElement>("map-base");
  readonly marks = find<HTMLCanvasElement>("map-marks");
  readonly #zoom: ZoomBehavior<HTMLElement, unknown>;
  readonly #manifold: Manifold;
  readonly #drawBase = nextFrame(() => this.#paintBase());
  readonly #drawMarks = nextFrame(() => this.#paintMarks());
  readonly #decodeGrid = settled(60, () => this.#updateManifold());
  #dots: Dots;
  #theme: Theme;
  #frame: Frame;
  #zooming = false;
  #across = ""; // what the manifold depends on besides the view

  /** Where the encoder placed the drawing. */
  placed: Placed | null = null;

  constructor(
    readonly store: Store,
    readonly latents: Latents,
    /** The names of the classes, by label. */
    readonly classes: readonly string[],
    public plane: Plane,
    models: Models,
  ) {
    this.#theme = readTheme(classes.length);
    this.#dots = new Dots(latents, plane, classes);
    this.#manifold = new Manifold(models);
    this.#frame = new Frame(1, 1, 1, WHOLE);
    this.#zoom = zoom<HTMLElement, unknown>()
      .scaleExtent(ZOOMS)
      // One finger moves the point, two move the map.
      .filter((event) => (event.touches ? event.touches.length > 1 : !event.button && event.type !== "dblclick"))
      .on("zoom", ({ transform, sourceEvent }: D3ZoomEvent<HTMLElement, unknown>) => {
        if (!sourceEvent) return;
        this.#zooming = true;
        store.change({ view: this.#frame.viewOf(transform) });
        this.#zooming = false;
      });
    select(this.element).call(this.#zoom);
    this.element.addEventListener("pointermove", (event) => this.#point(event));
    this.element.addEventListener("pointerdown", (event) => event.pointerType !== "mouse" && this.#point(event));
    this.element.addEventListener("click", (event) => this.#click(event as PointerEvent));
    this.element.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(this.element);
    whenThemeChanges(() => this.#retheme());
    store.listen((state, changed) => this.#follow(state, changed));
    this.#resize();
  }

  /** The distance from the middle that the map reaches at zoom 1. */
  get radius() {
    return this.#dots.radius;
  }

  get theme() {
    return this.#theme;
  }

  zoomBy(factor: number): void {
    const { view } = this.store.state;
    const zoomed = Math.min(ZOOMS[1], Math.max(ZOOMS[0], view.zoom * factor));
    this.store.change({ view: { ...view, zoom: zoomed } });
  }

  show(plane: Plane): void {
    this.plane = plane;
    this.#dots = new Dots(this.latents, plane, this.classes);
    this.#manifold.clear();
    this.#resize();
  }

  redraw(): void {
    this.#drawMarks();
  }

  /** Brings a point into view if it is outside. */
  reveal(z: Float32Array): void {
    const place = project(this.plane, z);
    const [x, y] = this.#frame.toScreen(place);
    if (x > 0 && y > 0 && x < this.#frame.width && y < this.#frame.height) return;
    const { view } = this.store.state;
    const far = Math.max(...place.map(Math.abs)) / this.#dots.radius;
    const wider = { ...WHOLE, zoom: Math.max(ZOOMS[0], Math.min(1, 0.9 / far)) };
    this.store.change({ view: view.zoom > 1 ? { ...view, x: place[0], y: place[1] } : wider });
  }

  #follow(state: State, changed: Changed): void {
    if (changed.has("view")) {
      this.#frame = new Frame(this.#frame.width, this.#frame.height, this.#dots.radius, state.view);
      if (!this.#zooming) this.#tellZoom();
      this.#drawBase();
    }
    if (changed.has("hidden") || changed.has("layer")) this.#drawBase();
    if (changed.has("layer") && state.layer === "dots") this.#manifold.clear();
    if (changed.has("view") || changed.has("layer") || changed.has("softness")) this.#decodeGrid();
    else if (changed.has("z") && state.layer !== "dots" && this.#acrossOf(state.z) !== this.#across) this.#decodeGrid();
    this.#drawMarks();
  }

  /** Tells d3-zoom about a view that it did not set itself. */
  #tellZoom(): void {
    select(this.element).call(this.#zoom.transform, this.#frame.transform());
  }

  #point(event: PointerEvent): void {
    const mouse = event.pointerType === "mouse";
    if (!event.isPrimary || (mouse && (this.store.state.held || event.buttons))) return;
    this.#moveTo(this.#placeOf(event), !mouse);
  }

  #click(event: PointerEvent): void {
    if (event.pointerType !== "mouse" || event.detail === 0) return;
    this.#moveTo(this.#placeOf(event), !this.store.state.held);
  }

  #key(event: KeyboardEvent): void {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow) {
      const step = ((2 * this.#dots.radius) / this.store.state.view.zoom) * STEP * (event.shiftKey ? 5 : 1);
      const [x, y] = project(this.plane, this.store.state.z);
      this.#moveTo([x + arrow[0] * step, y + arrow[1] * step], true);
      this.reveal(this.store.state.z);
    } else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.store.change({ view: WHOLE });
    else if (event.key === "a" || event.key === "b") {
      const { z, pins } = this.store.state;
      this.store.change({ pins: event.key === "a" ? [z, pins[1]] : [pins[0], z] });
    } else if (event.key === "Enter" || event.key === " ") this.store.change({ held: !this.store.state.held });
    else return;
    event.preventDefault();
  }

  #placeOf(event: PointerEvent): Point {
    const box = this.element.getBoundingClientRect();
    return this.#frame.toPlane([event.clientX - box.left, event.clientY - box.top]);
  }

  #moveTo(place: Point, held: boolean): void {
    this.store.change({ z: move(this.plane, this.store.state.z, place), held });
  }

  #resize(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    for (const canvas of [this.base, this.marks]) {
      canvas.width = Math.round(width * devicePixelRatio);
      canvas.height = Math.round(height * devicePixelRatio);
    }
    this.#frame = new Frame(width, height, this.#dots.radius, this.store.state.view);
    this.#tellZoom();
    this.#paintBase(); // at once, since resizing clears a canvas
    this.#paintMarks();
    this.#decodeGrid();
  }

  #retheme(): void {
    this.#theme = readTheme(this.classes.length);
    this.#drawBase();
    this.#drawMarks();
    this.#decodeGrid();
  }

  /** The component of `z` orthogonal to the plane. */
  #acrossOf(z: Float32Array): string {
    return move(this.plane, z, [0, 0])
      .map((value) => Math.round(value * 1000))
      .join();
  }

  async #updateManifold(): Promise<void> {
    const { layer, z, softness } = this.store.state;
    if (layer === "dots") return;
    this.#across = this.#acrossOf(z);
    if (await this.#manifold.update(this.#frame, this.plane, z, softness, this.#theme)) this.#drawBase();
  }

  #paintBase(): void {
    const { layer, hidden } = this.store.state;
    const to = this.#clean(this.base);
    to.globalAlpha = layer === "both" ? 0.4 : 1;
    if (layer !== "dots") this.#manifold.draw(to, this.#frame);
    to.globalAlpha = 1;
    if (layer !== "digits") this.#dots.draw(to, this.#frame, this.#theme, hidden);
    drawAxes(to, this.#frame, this.plane, this.#theme, layer === "dots");
    if (layer === "dots") this.#dots.drawLabels(to, this.#frame, this.#theme, hidden);
  }

  #paintMarks(): void {
    drawMarks(this.#clean(this.marks), this.#frame, this.#dots, this.#theme, this.store.state, this.placed);
  }

  #clean(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
    const to = context(canvas);
    to.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    to.clearRect(0, 0, this.#frame.width, this.#frame.height);
    return to;
  }
}
