// Drawings made like MNIST's digits: 20 pixels high or wide, their centre of mass in the middle of 28 by 28.
import assert from "node:assert/strict";
import test from "node:test";
import { asMnist } from "../../../pipeline/exploring/site/src/likeness";

const SIDE = 28;

/** Ink by `level(x, y)` on a drawing of `width` by `height`. */
function drawing(width, height, level) {
  return [
    Float32Array.from({ length: width * height }, (_, i) => level(i % width, Math.floor(i / width))),
    width,
    height,
  ];
}

const box = (left, top, width, height) => (x, y) =>
  x >= left && x < left + width && y >= top && y < top + height ? 255 : 0;

/** Where there is ink: the first column and row, how many of them, and the centre of mass. */
function extent(image) {
  const inked = [...image.keys()].filter((i) => image[i]);
  const [xs, ys] = [inked.map((i) => i % SIDE), inked.map((i) => Math.floor(i / SIDE))];
  const mass = image.reduce((sum, value) => sum + value, 0);
  const centre = (places) => inked.reduce((sum, i, n) => sum + image[i] * (places[n] + 0.5), 0) / mass;
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return {
    left,
    top,
    width: Math.max(...xs) - left + 1,
    height: Math.max(...ys) - top + 1,
    x: centre(xs),
    y: centre(ys),
  };
}

for (const side of [10, 20, 40, 137])
  test(`a square of ${side} pixels anywhere becomes one of 20 in the middle`, () => {
    const image = asMnist(...drawing(280, 200, box(7, 31, side, side)));
    assert.deepEqual(
      [...image],
      [...Array(784).keys()].map((i) => box(4, 4, 20, 20)(i % SIDE, Math.floor(i / SIDE))),
    );
  });

for (const [name, width, height, wanted] of [
  ["tall", 40, 80, [10, 20]],
  ["wide", 100, 25, [20, 5]],
  ["thin", 1, 90, [1, 20]],
])
  test(`a ${name} stroke keeps its proportions`, () => {
    const found = extent(asMnist(...drawing(150, 150, box(20, 30, width, height))));
    assert.deepEqual([found.width, found.height], wanted);
  });

test("the centre of mass is in the middle, not that of the outline", () => {
  const seven = (x, y) => Math.max(box(60, 40, 80, 12)(x, y), box(120, 40, 20, 120)(x, y));
  const { x, y, left } = extent(asMnist(...drawing(280, 280, seven)));
  assert.ok(Math.abs(x - 14) <= 0.5 && Math.abs(y - 14) <= 0.5, `${x}, ${y}`);
  assert.notEqual(left, Math.round((SIDE - 14) / 2), "its outline is 13 or 14 wide, and stands further to the left");
});

test("ink is never moved over the edge", () => {
  const slanted = (x) => (x < 20 ? 255 : 25); // the mass is at 4.8 of 20
  const { left, width } = extent(asMnist(...drawing(100, 100, slanted)));
  assert.deepEqual([left, width], [8, 20]);
});

test("a pixel is the mean of what it covers", () => {
  // A slope: the mean of 3 by 3 pixels is the one in their middle.
  const slope = (x, y) => 25 + 2 * x + y;
  const image = asMnist(...drawing(60, 60, slope));
  const { left, top } = extent(image);
  for (const [column, row] of [
    [0, 0],
    [19, 0],
    [7, 11],
    [19, 19],
  ])
    assert.equal(image[(top + row) * SIDE + left + column], slope(3 * column + 1, 3 * row + 1));
});

test("pixels that are covered in part count in part", () => {
  // 30 columns to 20: each takes one and a half, light and dark ones in turn.
  const stripes = (x) => (x % 3 === 1 ? 240 : 60);
  const image = asMnist(...drawing(30, 30, stripes));
  const { left, top } = extent(image);
  assert.deepEqual([...image.slice(top * SIDE + left, top * SIDE + left + 4)], [120, 120, 120, 120]); // (60 + 240 / 2) / 1.5
});

test("paper without ink is no digit, nor is noise as faint as the paper's", () => {
  assert.equal(asMnist(...drawing(280, 280, () => 0)), null);
  assert.equal(asMnist(...drawing(280, 280, (x, y) => (x + y) % 25)), null);
});
