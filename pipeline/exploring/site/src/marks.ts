/** What is drawn over the dots: axes, the point, the pins, and the drawing with its uncertainty. */
import { ticks } from "d3-array";
import type { Dots } from "./dots";
import type { Frame } from "./frame";
import { ellipse, type Plane, type Point, project } from "./plane";
import type { State } from "./state";
import type { Theme } from "./theme";

/** Where the encoder placed the drawing, and the nearest test images. */
export interface Placed {
  mean: Float32Array;
  logVar: Float32Array;
  /** The rows of the nearest test images. */
  rows: number[];
}

export function drawAxes(to: CanvasRenderingContext2D, frame: Frame, plane: Plane, theme: Theme, lines: boolean): void {
  const { width, height } = frame;
  const [[left, top], [right, bottom]] = [frame.toPlane([0, 0]), frame.toPlane([width, height])];
  to.font = "12px system-ui, sans-serif";
  to.lineWidth = 1;
  const text = (words: string, x: number, y: number) => {
    const wide = to.measureText(words).width;
    const left = x - wide * ({ center: 0.5, right: 1 }[String(to.textAlign)] ?? 0);
    to.globalAlpha = 0.85;
    to.fillStyle = theme.paper;
    to.fillRect(left - 3, y - 12, wide + 6, 16);
    to.globalAlpha = 1;
    to.fillStyle = theme.faint;
    to.fillText(words, x, y);
  };
  const line = (from: Point, end: Point, alpha: number) => {
    if (!lines) return;
    to.lineWidth = 1;
    to.globalAlpha = alpha;
    to.strokeStyle = theme.faint;
    to.beginPath();
    to.moveTo(...from);
    to.lineTo(...end);
    to.stroke();
    to.globalAlpha = 1;
  };
  to.textBaseline = "alphabetic";
  to.textAlign = "center";
  for (const value of ticks(left, right, Math.max(3, width / 110))) {
    const [x] = frame.toScreen([value, 0]);
    line([x, 0], [x, height], value === 0 ? 0.6 : 0.18);
    if (x > 24 && x < width - 24) text(sign(value), x, height - 6);
  }
  to.textAlign = "left";
  if (plane.mean.length > 1) {
    for (const value of ticks(bottom, top, Math.max(3, height / 110))) {
      const [, y] = frame.toScreen([0, value]);
      line([0, y], [width, y], value === 0 ? 0.6 : 0.18);
      if (y > 20 && y < height - 24) text(sign(value), 6, y + 4);
    }
    text(`↑ ${plane.labels[1]}`, 6, 16);
  }
  to.textAlign = "right";
  text(`${plane.labels[0]} →`, width - 6, height - 22);
}

export function drawMarks(
  to: CanvasRenderingContext2D,
  frame: Frame,
  dots: Dots,
  theme: Theme,
  state: State,
  placed: Placed | null,
): void {
  const { plane } = dots;
  if (placed) drawPlaced(to, frame, theme, placed, dots);
  const [a, b] = state.pins.map((pin) => (pin ? frame.toScreen(project(plane, pin)) : null));
  if (a && b) {
    to.setLineDash([6, 5]);
    halo(to, theme, theme.ink, 1.5, () => {
      to.moveTo(...a);
      to.lineTo(...b);
    });
    to.setLineDash([]);
  }
  for (const [i, place] of [a, b].entries()) if (place) drawPin(to, theme, place, i);
  drawPoint(to, frame, plane, theme, state);
}

function drawPoint(to: CanvasRenderingContext2D, frame: Frame, plane: Plane, theme: Theme, state: State): void {
  const [x, y] = frame.toScreen(project(plane, state.z));
  halo(to, theme, theme.accent, 2.5, () => {
    to.arc(x, y, 9, 0, 2 * Math.PI);
    if (plane.mean.length === 1) {
      to.moveTo(x, 0);
      to.lineTo(x, frame.height);
    }
    for (const [dx, dy] of [
      [1, 0],
      [-1, 0],
      [0, 1],
      [0, -1],
    ]) {
      to.moveTo(x + dx * 9, y + dy * 9);
      to.lineTo(x + dx * 16, y + dy * 16);
    }
  });
  if (!state.held) return;
  to.beginPath();
  to.arc(x, y, 3.5, 0, 2 * Math.PI);
  to.fillStyle = theme.accent;
  to.fill();
}

function drawPin(to: CanvasRenderingContext2D, theme: Theme, [x, y]: Point, pin: number): void {
  to.beginPath();
  to.moveTo(x, y);
  to.lineTo(x - 9, y - 17);
  to.arc(x, y - 20, 10, Math.PI * 0.8, Math.PI * 0.2);
  to.closePath();
  to.fillStyle = theme.pins[pin];
  to.fill();
  to.strokeStyle = theme.paper;
  to.lineWidth = 2;
  to.stroke();
  to.fillStyle = theme.paper;
  to.font = "bold 12px system-ui, sans-serif";
  to.textAlign = "center";
  to.textBaseline = "middle";
  to.fillText("AB"[pin], x, y - 19);
}

function drawPlaced(to: CanvasRenderingContext2D, frame: Frame, theme: Theme, placed: Placed, dots: Dots): void {
  const centre = frame.toScreen(project(dots.plane, placed.mean));
  const { radii, angle } = ellipse(dots.plane, placed.logVar);
  const [first, second] = radii;
  for (const deviations of [1, 2])
    halo(to, theme, theme.ink, 2, () =>
      to.ellipse(
        ...centre,
        Math.max(2, first * deviations * frame.scale),
        Math.max(2, second * deviations * frame.scale),
        -angle, // the screen's second axis points down
        0,
        2 * Math.PI,
      ),
    );
  for (const row of placed.rows) {
    const [x, y] = frame.toScreen(dots.placeOf(row));
    halo(to, theme, theme.ink, 1.5, () => to.rect(x - 5, y - 5, 10, 10));
  }
}

/** A line with an edge in the paper colour, visible on any background. */
function halo(to: CanvasRenderingContext2D, theme: Theme, colour: string, width: number, path: () => void): void {
  to.beginPath();
  path();
  to.strokeStyle = theme.paper;
  to.lineWidth = width + 3;
  to.stroke();
  to.strokeStyle = colour;
  to.lineWidth = width;
  to.stroke();
}

function sign(value: number): string {
  return String(value).replace("-", "−");
}
