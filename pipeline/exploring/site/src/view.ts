/** Where in the picture a canvas looks, and where its pixels lie there. The renderer draws what these functions ask for. */
import { type ZoomTransform, zoomIdentity } from "d3-zoom";
import { SIDE } from "./paint";
import type { View } from "./state";

/** The whole picture. Its sides are 1 long, the origin is its upper left corner. */
export const PICTURE: View = { x: 0.5, y: 0.5, zoom: 1 };

/** Pixels no smaller than this, in 28ths of the picture, have places that float32 tells apart: its step below 32 is half. */
const FINEST = 2 ** -18;

export const LEAST_SOFTNESS = 0.05; // of the renderer

/** The pixels of a picture that are to be drawn. */
export interface Pixels {
  /** Where their centres are, from 0 at the top to 1 at the bottom. */
  rows: Float32Array;
  /** The same from left to right. */
  columns: Float32Array;
  /** The side of a pixel in 28ths of the picture's. */
  pixel: number;
  /** Of edges: 1 is as trained. */
  softness: number;
}

/** How far `side` pixels can be zoomed in. */
export function mostZoom(side: number): number {
  return SIDE / side / FINEST;
}

/** The nearest view that shows nothing beyond the picture and that `side` pixels can show. */
export function inside({ x, y, zoom }: View, side: number): View {
  const allowed = Math.min(Math.max(zoom, 1), mostZoom(side));
  const half = 0.5 / allowed;
  const kept = (middle: number) => Math.min(Math.max(middle, half), 1 - half);
  return { x: kept(x), y: kept(y), zoom: allowed };
}

/** Zoomed about the middle. */
export function zoomed(view: View, factor: number): View {
  return { ...view, zoom: view.zoom * factor };
}

/** Moved by so many widths of what is visible. */
export function panned({ x, y, zoom }: View, right: number, down: number): View {
  return { x: x + right / zoom, y: y + down / zoom, zoom };
}

/** The pixels of a view with `side` pixels along each side: all of them, or the rows from `top` up to `bottom`. */
export function pixelsOf({ x, y, zoom }: View, side: number, softness: number, top = 0, bottom = side): Pixels {
  const place = (middle: number, i: number) => middle + ((i + 0.5) / side - 0.5) / zoom;
  return {
    rows: Float32Array.from({ length: bottom - top }, (_, i) => place(y, top + i)),
    columns: Float32Array.from({ length: side }, (_, i) => place(x, i)),
    pixel: SIDE / side / zoom,
    softness,
  };
}

/** The view as a transform of d3-zoom of an element that is `wide` CSS pixels wide. */
export function toTransform({ x, y, zoom }: View, wide: number): ZoomTransform {
  return zoomIdentity
    .translate(wide / 2, wide / 2)
    .scale(zoom)
    .translate(-x * wide, -y * wide);
}

export function fromTransform({ k, x, y }: ZoomTransform, wide: number): View {
  return { x: (wide / 2 - x) / k / wide, y: (wide / 2 - y) / k / wide, zoom: k };
}
