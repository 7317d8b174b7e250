/** The part of the plane that the map shows, and where its points lie on the screen. */
import { type ZoomTransform, zoomIdentity } from "d3-zoom";
import type { Point } from "./plane";
import type { View } from "./state";

export class Frame {
  /** Pixels to a unit of the plane. */
  readonly scale: number;

  /** `radius`: the distance from the origin that fits into the shorter side at zoom 1. */
  constructor(
    readonly width: number,
    readonly height: number,
    readonly radius: number,
    readonly view: View,
  ) {
    this.scale = (Math.min(width, height) / 2 / radius) * view.zoom;
  }

  toScreen([x, y]: Point): Point {
    return [this.width / 2 + (x - this.view.x) * this.scale, this.height / 2 - (y - this.view.y) * this.scale];
  }

  toPlane([x, y]: Point): Point {
    return [this.view.x + (x - this.width / 2) / this.scale, this.view.y - (y - this.height / 2) / this.scale];
  }

  /** The same view as a transform of d3-zoom. */
  transform(): ZoomTransform {
    const unzoomed = this.scale / this.view.zoom;
    const { x, y, zoom } = this.view;
    return zoomIdentity
      .translate(this.width / 2, this.height / 2)
      .scale(zoom)
      .translate(-this.width / 2 - x * unzoomed, -this.height / 2 + y * unzoomed);
  }

  viewOf({ k, x, y }: ZoomTransform): View {
    const unzoomed = this.scale / this.view.zoom;
    return {
      x: ((this.width / 2 - x) / k - this.width / 2) / unzoomed,
      y: -((this.height / 2 - y) / k - this.height / 2) / unzoomed,
      zoom: k,
    };
  }
}
