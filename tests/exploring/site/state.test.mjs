// The state of the page and the address that holds it.
import assert from "node:assert/strict";
import test from "node:test";
import { fromAddress, initial, Store, toAddress, WHOLE } from "../../../pipeline/exploring/site/src/state";

const FIRST = Float32Array.of(0, 0, 0);
const zeros = new Uint8Array(784);
const dots = Uint8Array.from(zeros, (_, i) => (i % 57 ? 0 : 200));
const full = Uint8Array.from(zeros, (_, i) => 1 + (i % 255));

const CHANGES = {
  "the point": { z: Float32Array.of(0.5, -2.25, 1) },
  held: { held: true },
  "the view": { view: { x: 1.5, y: -0.25, zoom: 8 } },
  "the plane": { plane: "principal" },
  "the layer": { layer: "both" },
  "hidden classes": { hidden: new Set([0, 4, 9]) },
  "a hidden class": { hidden: new Set([12]) },
  "hidden classes of many": { hidden: new Set([2, 10, 255]) },
  "one pin": { pins: [null, Float32Array.of(1, 2, 3)] },
  "both pins": { pins: [Float32Array.of(-1, 0, 1), Float32Array.of(1, 2, 3)] },
  "a drawing": { drawing: dots },
  "an empty drawing": { drawing: zeros },
  "a drawing without background": { drawing: full },
  comparison: { compare: true },
  "a part of the image": { look: { x: 0.25, y: 0.625, zoom: 1024 } },
  softness: { softness: 0.1 },
  "the image in the whole window": { large: true },
};

for (const [name, changes] of Object.entries(CHANGES))
  test(`the address holds ${name}`, () => {
    const state = { ...initial(FIRST), ...changes };
    const address = toAddress(state);
    assert.match(address, /^[\w=&,.-]+$/, "no character that an address would have to escape");
    assert.deepEqual(fromAddress(`#${address}`, FIRST), state);
  });

test("the address of a page that was just opened is its point alone", () => {
  assert.equal(toAddress(initial(Float32Array.of(0, 1.5))), "z=0,1.5");
});

test("numbers are written to four decimals", () => {
  assert.equal(toAddress(initial(Float32Array.of(1 / 3, -2 / 3))), "z=0.3333,-0.6667");
});

test("in a drawing each zero is followed by how many more there are, in base64url", () => {
  // Python: base64.urlsafe_b64encode(bytes([0, 255, 0, 255, 0, 255, 0, 15])), for 3 * 256 + 16 zeros
  assert.equal(toAddress({ ...initial(FIRST), drawing: zeros }), "z=0,0,0&drawing=AP8A_wD_AA8");
});

for (const [name, fragment] of Object.entries({
  nothing: "",
  "an address without values": "z&view&a=&hide",
  "a point of another model": "z=1,2&a=1,2,3,4",
  "a point that is no number": "z=1,x,3",
  "a view that is too far out": "view=0,0,0.01",
  "a look that is wider than the image": "look=0.5,0.5,0.9",
  "a softness below the renderer's": "soft=0.01",
  "a softness above what was trained": "soft=2",
  "a softness that is none": "soft=sharp",
  "names that do not exist": "plane=nothing&layer=__proto__&hide=qq",
  "a drawing that is no base64": "drawing=%%%",
  "a drawing that is too short": "drawing=AP8A_wD_",
  "a drawing that is too long": "drawing=AP8A_wD_AP8",
  "a drawing that ends before a count": "drawing=AP8A_wD_AA",
}))
  test(`the page opens as it is at first with ${name}`, () => {
    assert.deepEqual(fromAddress(`#${fragment}`, FIRST), initial(FIRST));
  });

test("a look beyond the border is moved into the image", () => {
  assert.deepEqual(fromAddress("look=2,-1,4", FIRST).look, { x: 0.875, y: 0.125, zoom: 4 });
});

test("a model with two latents has no principal plane to show", () => {
  assert.equal(fromAddress("plane=principal", Float32Array.of(0, 0)).plane, "latents");
});

test("listeners are told the new state and what changed in it", () => {
  const store = new Store({ ...initial(FIRST), view: { x: 1, y: 1, zoom: 2 } });
  const told = [];
  store.listen((state, changed) => told.push([state.view, [...changed]]));
  store.change({ view: WHOLE, held: true });
  assert.deepEqual(told, [[WHOLE, ["view", "held"]]]);
  assert.deepEqual(store.state, { ...initial(FIRST), held: true });
});
