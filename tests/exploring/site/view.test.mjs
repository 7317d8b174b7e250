// Where in the picture a canvas looks, and which pixels that asks the renderer for.
import assert from "node:assert/strict";
import test from "node:test";
import {
  fromTransform,
  inside,
  mostZoom,
  PICTURE,
  panned,
  pixelsOf,
  toTransform,
  zoomed,
} from "../../../pipeline/exploring/site/src/view";
import { near } from "./near.mjs";

const CORNER = { x: 0.875, y: 0.125, zoom: 4 }; // the upper right

test("the whole picture has the centres of its pixels, and the data's pixels are 1 wide", () => {
  const { rows, columns, pixel, softness } = pixelsOf(PICTURE, 4, 0.3);
  near(rows, [0.125, 0.375, 0.625, 0.875]);
  assert.deepEqual(columns, rows);
  assert.equal(pixel, 7);
  assert.equal(softness, 0.3);
  assert.equal(pixelsOf(PICTURE, 28, 1).pixel, 1);
});

test("zoomed in, the pixels are smaller and closer, from edge to edge of what is visible", () => {
  const { rows, columns, pixel } = pixelsOf(CORNER, 5, 1);
  near(rows, [0.025, 0.075, 0.125, 0.175, 0.225]);
  near(columns, [0.775, 0.825, 0.875, 0.925, 0.975]);
  near([pixel], [28 / 5 / 4]);
});

test("a strip has the rows of the whole", () => {
  const [whole, strip] = [pixelsOf(CORNER, 100, 1), pixelsOf(CORNER, 100, 1, 30, 45)];
  assert.deepEqual(strip, { ...whole, rows: whole.rows.slice(30, 45) });
});

for (const side of [28, 188, 1080, 4320])
  test(`as far in as ${side} pixels go, float32 tells all places apart, in 28ths too`, () => {
    const last = { x: 1, y: 0.999, zoom: mostZoom(side) };
    const { rows, columns } = pixelsOf(inside(last, side), side, 1);
    for (const places of [rows, columns]) {
      assert.equal(new Set(places).size, side);
      assert.equal(new Set(places.map((place) => place * 28)).size, side);
    }
  });

test("the zoom ends at the whole picture and where places are no longer distinct", () => {
  assert.deepEqual(inside({ x: 0.2, y: 0.9, zoom: 0.5 }, 188), PICTURE);
  assert.equal(inside({ ...PICTURE, zoom: 1e12 }, 188).zoom, mostZoom(188));
  assert.ok(mostZoom(1080) > 5000);
});

test("nothing beyond the picture is shown", () => {
  assert.deepEqual(inside({ x: 0.99, y: 0, zoom: 4 }, 188), CORNER);
  assert.deepEqual(inside(CORNER, 188), CORNER);
});

test("zooming keeps the middle, panning goes by what is visible", () => {
  assert.deepEqual(zoomed(CORNER, 2), { x: 0.875, y: 0.125, zoom: 8 });
  assert.deepEqual(panned(CORNER, -0.5, 1), { x: 0.75, y: 0.375, zoom: 4 });
});

for (const view of [PICTURE, CORNER])
  test(`d3-zoom's transform shows the same: ${view.zoom}`, () => {
    const transform = toTransform(view, 188);
    near(transform.apply([view.x * 188, view.y * 188]), [94, 94], 1e-9); // the centre is in the middle
    const { x, y, zoom } = fromTransform(transform, 188);
    near([x, y, zoom], Object.values(view), 1e-9);
  });
