// Projections, ellipses and neighbours, against values worked out by hand.
import assert from "node:assert/strict";
import test from "node:test";
import {
  between,
  byActivity,
  ellipse,
  latentPlane,
  move,
  nearest,
  principalPlane,
  project,
} from "../../../pipeline/exploring/site/src/plane";
import { near } from "./near.mjs";

const TILTED = {
  mean: [0, 0, 0],
  axes: [
    [1, 0, 0],
    [0, 0.6, 0.8],
  ],
};
const half = Math.SQRT1_2;

test("a point is projected by its products with the axes, from the mean", () => {
  near(project(TILTED, [1, 2, 3]), [1, 0.6 * 2 + 0.8 * 3]);
  near(project({ ...TILTED, mean: [1, 2, 3] }, [1, 2, 3]), [0, 0]);
});

test("one row of many is projected where it starts", () => {
  near(project(TILTED, [9, 9, 9, 1, 2, 3], 3), [1, 3.6]);
});

test("a move reaches its point and keeps what lies across the plane", () => {
  const across = [0, -0.8, 0.6];
  const moved = move(TILTED, Float32Array.of(1, 2, 3), [-2, 0.5]);
  near(project(TILTED, moved), [-2, 0.5]);
  const before = -0.8 * 2 + 0.6 * 3;
  near([moved.reduce((sum, value, i) => sum + value * across[i], 0)], [before]);
});

test("the map shows the two latents of largest KL, in the order of their numbers", () => {
  const site = { latent_dim: 4, kl: [0.5, 3, 0, 2.25] };
  assert.deepEqual(byActivity(site), [1, 3, 0, 2]);
  const plane = latentPlane(site);
  assert.deepEqual(plane.labels, ["z[1], KL 3.00 nats", "z[3], KL 2.25 nats"]);
  assert.match(plane.caption, /^Latents 1 and 3, the two of 4 with the largest KL: 5\.3 of 5\.8 nats/); // 5.25 of 5.75
  near(project(plane, [10, 20, 30, 40]), [20, 40]);
});

test("a single latent is the first axis and moves alone", () => {
  const plane = latentPlane({ latent_dim: 1, kl: [4], noun: "digit", classes: ["0", "1"] });
  assert.deepEqual(plane.labels, ["z[0], KL 4.00 nats", "digit"]);
  near(project(plane, [1.5]), [1.5, 0]);
  near(move(plane, Float32Array.of(1.5), [-1, 7]), [-1]);
});

test("there is a principal plane where the site has one, with its share of the variance", () => {
  assert.equal(principalPlane({ latent_dim: 2, plane: null }), null);
  const plane = principalPlane({ latent_dim: 3, plane: { ...TILTED, share: 0.625 } });
  assert.match(plane.caption, /63 % of the variance/);
  near(project(plane, [1, 2, 3]), [1, 3.6]);
});

const variances = (...values) => values.map(Math.log);
for (const [name, axes, logVar, radii, angle] of [
  [
    "along the axes",
    [
      [1, 0],
      [0, 1],
    ],
    variances(9, 4),
    [3, 2],
    0,
  ],
  [
    "with the second latent wider",
    [
      [1, 0],
      [0, 1],
    ],
    variances(4, 9),
    [3, 2],
    Math.PI / 2,
  ],
  [
    "turned by 45 degrees",
    [
      [half, half],
      [-half, half],
    ],
    variances(9, 4),
    [3, 2],
    -Math.PI / 4,
  ],
  ["a plane that cuts across two latents", TILTED.axes, variances(4, 1, 2), [2, Math.sqrt(0.36 + 0.64 * 2)], 0],
  ["one latent", [[1], [0]], variances(0.25), [0.5, 0], 0],
])
  test(`a Gaussian in the plane is an ellipse: ${name}`, () => {
    const found = ellipse({ axes }, logVar);
    near(found.radii, radii);
    near([Math.cos(2 * found.angle), Math.sin(2 * found.angle)], [Math.cos(2 * angle), Math.sin(2 * angle)]);
  });

test("a Gaussian that is equally wide in all directions is a circle in every plane", () => {
  near(
    ellipse(
      {
        axes: [
          [half, half],
          [-half, half],
        ],
      },
      variances(4, 4),
    ).radii,
    [2, 2],
  );
});

test("between two points lies the straight line, ends included", () => {
  const [a, b] = [Float32Array.of(0, 4), Float32Array.of(2, -4)];
  for (const [share, point] of [
    [0, [0, 4]],
    [0.25, [0.5, 2]],
    [1, [2, -4]],
  ])
    near(between(a, b, share), point);
});

test("the nearest rows come nearest first, and of equals the first", () => {
  const rows = Float32Array.of(6, 8, 3, 4, 0, 1, -3, 4, 0, 0.5);
  assert.deepEqual(nearest(rows, Float32Array.of(0, 0), 4), [
    { row: 4, distance: 0.5 },
    { row: 2, distance: 1 },
    { row: 1, distance: 5 },
    { row: 3, distance: 5 },
  ]);
});

test("as many neighbours as there are rows at most", () => {
  assert.deepEqual(nearest(Float32Array.of(2), Float32Array.of(0), 6), [{ row: 0, distance: 2 }]);
});
