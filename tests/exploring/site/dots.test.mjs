// Where the dots of the test images lie.
import assert from "node:assert/strict";
import test from "node:test";
import { Dots } from "../../../pipeline/exploring/site/src/dots";
import { near } from "./near.mjs";

const DIGITS = [..."0123456789"];
const PLANE = {
  mean: [0, 0],
  axes: [
    [1, 0],
    [0, 1],
  ],
};

test("a dot lies where its latents are projected", () => {
  const dots = new Dots({ z: Float32Array.of(1, 2, -3, 4), labels: Uint8Array.of(7, 1) }, PLANE, DIGITS);
  near(dots.placeOf(0), [1, 2]);
  near(dots.placeOf(1), [-3, 4]);
});

test("the map reaches to nearly all dots, not to the farthest", () => {
  const z = Float32Array.from({ length: 400 }, (_, i) => (i % 2 ? 0 : i / 2 / 100)); // 0 to 1.99 along one axis
  z[398] = 50;
  const { radius } = new Dots({ z, labels: new Uint8Array(200) }, PLANE, DIGITS);
  near([radius], [1.98 * 1.08], 1e-5); // all but two of 200, and a margin
});

test("dots close to the origin are not blown up", () => {
  assert.equal(new Dots({ z: new Float32Array(20), labels: new Uint8Array(10) }, PLANE, DIGITS).radius, 1);
});

for (const classes of [2, 10, 47])
  test(`with one latent each of ${classes} classes has a row of its own, 0 at the bottom`, () => {
    const labels = Uint8Array.from({ length: 300 }, (_, i) => i % classes);
    const z = Float32Array.from(labels, (_, i) => i / 100 - 1.5);
    const names = [...Array(classes).keys()].map(String);
    const dots = new Dots({ z, labels }, { mean: [0], axes: [[1], [0]] }, names);
    const half = classes / 2;
    for (const [i, label] of labels.entries()) {
      const [x, y] = dots.placeOf(i);
      near([x], [z[i]]);
      const row = (y / dots.radius) * half + half - 0.5;
      assert.ok(Math.abs(row - label) <= 0.25 + 1e-5, `${y} is outside the row of ${label}`);
    }
  });

test("with one latent and no classes all are in the middle row", () => {
  const labels = new Uint8Array(300).fill(255);
  const dots = new Dots({ z: new Float32Array(300), labels }, { mean: [0], axes: [[1], [0]] }, []);
  for (const i of labels.keys()) assert.ok(Math.abs(dots.placeOf(i)[1] / dots.radius) <= 0.25 + 1e-6);
});
