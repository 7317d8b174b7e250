// Small things: words for vectors, and work that is overtaken.
import assert from "node:assert/strict";
import test from "node:test";
import { words } from "../../../pipeline/exploring/site/src/dom";
import { latest } from "../../../pipeline/exploring/site/src/models";
import { Times } from "../../../pipeline/exploring/site/src/times";

for (const [vector, text] of [
  [[1, -0.5], "(1.00, −0.50)"],
  [[0.126], "(0.13)"],
  [[1, 2, 3, 4], "(1.00, 2.00, 3.00, 4.00)"],
  [[1, 2, 3, 4, 5], "(1.00, 2.00, 3.00, 4.00, …)"],
])
  test(`${text} is a vector in words`, () => assert.equal(words(vector), text));

test("work goes on with the newest argument; what was overtaken is left out", async () => {
  const done = [];
  let finish;
  const ask = latest((argument) => {
    done.push(argument);
    return new Promise((finished) => {
      finish = finished;
    });
  });
  for (const argument of [1, 2, 3]) ask(argument);
  assert.deepEqual(done, [1]);
  finish();
  await new Promise(setImmediate);
  assert.deepEqual(done, [1, 3]);
  finish();
  await new Promise(setImmediate);
  assert.deepEqual(done, [1, 3]);
});

test("of times the median is told; the very first is left out, also where another size follows", () => {
  const times = new Times(28);
  assert.equal(`${times}`, "not yet");
  for (const time of [900, 3, 1.26, 0.5]) times.add(time);
  assert.equal(`${times}`, "1.3 ms");
  times.restart(1080);
  assert.equal(`${times}`, "not yet");
  times.add(0.05);
  assert.equal(`${times}`, "under 0.1 ms");
  assert.equal(times.side, 1080);
});
