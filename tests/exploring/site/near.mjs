import assert from "node:assert/strict";

/** Numbers that agree as float32 does: to about six digits. */
export function near(found, wanted, tolerance = 1e-6) {
  assert.equal(found.length, wanted.length);
  for (const [i, value] of Array.from(found).entries())
    assert.ok(Math.abs(value - wanted[i]) <= tolerance, `${Array.from(found)} is not ${Array.from(wanted)}`);
}
