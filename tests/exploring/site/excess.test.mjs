// How unusual an image is: closed forms of the divergences, and percentiles as pipeline/inference/usual.py has them.
import assert from "node:assert/strict";
import test from "node:test";
import { densest, excessOf, percentile, rank } from "../../../pipeline/exploring/site/src/excess";
import { near } from "./near.mjs";

const PAPER = new Float32Array(784);

/** Paper with grey levels at a few pixels. */
const grey = (levels) => Object.assign(PAPER.slice(), levels);

test("a perfect reconstruction at the prior's mean has none, whatever its greys", () => {
  const image = Float32Array.from(PAPER, (_, i) => 0.1 + (i % 9) / 10);
  const { pixels, reconstruction, kl } = excessOf(image, image, [0, 0], [0, 0]);
  assert.deepEqual([pixels.length, reconstruction, kl], [784, 0, 0]);
});

for (const [x, p, nats] of [
  [1, 0.5, Math.log(2)],
  [0, 0.5, Math.log(2)],
  [0.5, 0.2, 0.5 * Math.log(2.5) + 0.5 * Math.log(0.625)],
  [1, 1, 1e-7],
  [1, 0, 7 * Math.log(10)], // as far as float32 tells probabilities apart
  [0, 1, 7 * Math.log(10)],
])
  test(`grey ${x} where the decoder gives ${p} has ${nats.toFixed(4)} nats, in its own pixel`, () => {
    const { pixels, reconstruction } = excessOf(grey({ 100: x }), grey({ 100: p }), [], []);
    near([pixels[100]], [nats], 1e-6);
    near([reconstruction], [nats + 783e-7], 1e-5); // white pixels of both: no more than the clipping
    assert.ok(pixels.every((value) => value >= 0));
  });

for (const [mean, logVar, nats] of [
  [[1, 2], [0, 0], 2.5],
  [[0], [Math.log(4)], (3 - Math.log(4)) / 2],
  [[3], [-1], (Math.exp(-1) + 9) / 2],
])
  test(`latents of mean ${mean} and log variance ${logVar} have a KL of ${nats.toFixed(4)} nats`, () => {
    near([excessOf(PAPER, PAPER, mean, logVar).kl], [nats], 1e-6);
  });

test("the score is the excess over the root of the ink", () => {
  const { reconstruction, kl, score } = excessOf(grey({ 3: 1, 4: 0.5, 5: 0.5, 6: 1 }), PAPER, [2], [0]);
  near([score], [(reconstruction + kl) / 2], 1e-5);
});

const USUAL = { images: 5000, quantiles: Array.from({ length: 1001 }, (_, i) => i / 5) }; // 0 to 200, evenly

for (const [score, percent] of [
  [0, 0],
  [50, 25],
  [100.05, 50.025],
  [200, 100],
  [1e9, 100],
  [-1, 0],
])
  test(`a score of ${score} has the percentile ${percent}`, () => {
    near([percentile(USUAL, score)], [percent], 1e-9);
  });

test("quantiles that are equal count as one step each", () => {
  const usual = { images: 3, quantiles: [1, 2, 2, 2, 3] };
  near(
    [1.5, 2, 2.5].map((score) => percentile(usual, score)),
    [12.5, 75, 87.5],
  );
});

for (const [percent, words] of [
  [98.76, "More unusual than 98.7 % of held-out digits"],
  [99.99, "More unusual than 99.9 % of held-out digits"],
  [100, "More unusual than all 5,000 held-out digits"],
  [0.01, "More unusual than 0.0 % of held-out digits"],
  [0, "More usual than all 5,000 held-out digits"],
])
  test(`the percentile ${percent} in words`, () => assert.equal(rank(percent, USUAL, "digit"), words));

for (const [places, where, share] of [
  [{ 0: 1 }, "upper left", 1],
  [{ 0: 1, 783: 3 }, "lower right", 0.75],
  [{ [14 * 28 + 14]: 2, 27: 2, [14 * 28 + 13]: 1 }, "middle", 0.6],
  [{}, "upper left", 0],
])
  test(`${share * 100} % of the excess is in the ${where}`, () => {
    assert.deepEqual(densest(grey(places)), { where, share });
  });
