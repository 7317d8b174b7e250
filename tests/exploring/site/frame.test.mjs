// Where points of the plane lie on the screen, and that d3-zoom has it the same way.
import assert from "node:assert/strict";
import test from "node:test";
import { Frame } from "../../../pipeline/exploring/site/src/frame";
import { near } from "./near.mjs";

const WHOLE = { x: 0, y: 0, zoom: 1 };
const ZOOMED = { x: 1.5, y: -0.5, zoom: 4 };

test("the radius fits into the shorter side, with the second axis upwards", () => {
  const frame = new Frame(600, 400, 5, WHOLE);
  near(frame.toScreen([0, 0]), [300, 200]);
  near(frame.toScreen([0, 5]), [300, 0]);
  near(frame.toScreen([-5, 0]), [100, 200]);
});

test("the middle of the view is the middle of the screen, and a zoom enlarges about it", () => {
  const frame = new Frame(600, 400, 5, ZOOMED);
  near(frame.toScreen([1.5, -0.5]), [300, 200]);
  near(frame.toScreen([2.5, -0.5]), [300 + 4 * 40, 200]);
});

for (const [name, view] of Object.entries({ whole: WHOLE, zoomed: ZOOMED }))
  test(`a place on the screen is the point that is drawn there: ${name}`, () => {
    const frame = new Frame(600, 400, 5, view);
    for (const place of [
      [0, 0],
      [123, 45],
      [600, 400],
    ])
      near(frame.toScreen(frame.toPlane(place)), place, 1e-9);
  });

test("d3-zoom's transform takes the unzoomed screen to the zoomed one", () => {
  const [whole, zoomed] = [WHOLE, ZOOMED].map((view) => new Frame(600, 400, 5, view));
  for (const point of [
    [0, 0],
    [1.5, -0.5],
    [-3, 2],
  ])
    near(zoomed.transform().apply(whole.toScreen(point)), zoomed.toScreen(point), 1e-9);
});

test("the view is read back from the transform", () => {
  const frame = new Frame(600, 400, 5, ZOOMED);
  const { x, y, zoom } = frame.viewOf(frame.transform());
  near([x, y, zoom], [1.5, -0.5, 4], 1e-9);
  assert.deepEqual(Object.keys(frame.viewOf(frame.transform())), ["x", "y", "zoom"]);
});
