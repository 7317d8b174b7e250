// The digit itself: drawn for the screen that it is on, zoomed into, sharpened, enlarged and saved at any size.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { state, rest, ink, place, show, isPhone, touch, near } from "./hands.mjs";

/** What is on the canvas, and what the renderer makes of those places: grey levels from 0 to 255. */
const shownAndAsked = (page) =>
  page.evaluate(async () => {
    const { models, store } = window.explorer;
    const { z, look, softness } = store.state;
    const canvas = document.getElementById("digit");
    const side = canvas.width;
    const places = (middle) => Float32Array.from({ length: side }, (_, i) => middle + ((i + 0.5) / side - 0.5) / look.zoom);
    const asked = { rows: places(look.y), columns: places(look.x), pixel: 28 / side / look.zoom, softness };
    const { pixels } = await models.render(z, 1, asked);
    const { data } = canvas.getContext("2d").getImageData(0, 0, side, side);
    return [[...data].filter((_, i) => i % 4 === 3), [...pixels].map((value) => value * 255)];
  });

/** The mean width of edges in a square of grey levels: pixels that are neither, for each change along a row. */
function edgeWidth(greys) {
  const side = Math.sqrt(greys.length);
  const between = greys.filter((grey) => grey > 25 && grey < 230).length;
  let edges = 0;
  for (let i = 1; i < greys.length; i++) edges += i % side && greys[i] > 127 !== greys[i - 1] > 127;
  return between / edges;
}

const setLook = (page, changes) => page.evaluate((changes) => window.explorer.store.change(changes), changes);
const address = async (page) => {
  await rest(page);
  return new URLSearchParams(new URL(page.url()).hash.slice(1));
};
const device = (page) =>
  page.evaluate(() => [document.getElementById("digit").width, Math.round(document.getElementById("look").clientWidth * devicePixelRatio)]);

export const LOOK = {
  async "the digit has the screen's own pixels, also where it fills the window"({ page, task }) {
    await rest(page);
    const [small, screen] = await device(page);
    assert.equal(small, screen);
    near(...(await shownAndAsked(page)), 1, "a pixel");
    await page.locator("#enlarge").click();
    await rest(page);
    const [large, window] = await device(page);
    assert.equal(large, window);
    assert.ok(large > small * 2.5, `${large}, ${small} before`);
    assert.match(await page.locator("#digit-caption").textContent(), new RegExp(`^${large} × ${large} pixels$`));
    near(...(await shownAndAsked(page)), 1, "a pixel of the large one");
    assert.equal((await address(page)).get("large"), "1");
    assert.ok(await page.locator(".map-card").evaluate((card) => card.inert), "what it covers takes no keys");
    await page.screenshot({ path: `${task.out}/${task.name}-large.png` });
    await page.keyboard.press("Escape");
    await rest(page);
    assert.deepEqual(await device(page), [small, small]);
    assert.ok(!(await page.locator(".map-card").evaluate((card) => card.inert)));
  },

  async "the wheel or two fingers zoom into the digit about that place, a drag pans"({ page, context, task }) {
    const at = await place(page, 0.75, 0.25, "look");
    const beside = (dx, dy = 0) => ({ x: at.x + dx, y: at.y + dy });
    const small = await shownAndAsked(page);
    if (isPhone(task)) {
      await touch(context, page, "touchStart", beside(-10), beside(10));
      for (const wide of [15, 20, 30]) await touch(context, page, "touchMove", beside(-wide), beside(wide));
      await touch(context, page, "touchEnd");
    } else {
      await page.mouse.move(at.x, at.y);
      for (let i = 0; i < 3; i++) await page.mouse.wheel(0, -300);
    }
    const { look } = await state(page);
    assert.ok(look.zoom > 2 && look.zoom < 5, `${look.zoom}`);
    // What was there is still there: the place's distance from the middle shrinks with the zoom.
    near([look.x + 0.25 / look.zoom, look.y - 0.25 / look.zoom], [0.75, 0.25], 0.02, "the place");
    await rest(page);
    const zoomed = await shownAndAsked(page);
    near(...zoomed, 1, "a pixel");
    assert.notDeepEqual(zoomed[0], small[0]);
    if (isPhone(task)) {
      await touch(context, page, "touchStart", at);
      for (const far of [10, 20, 40]) await touch(context, page, "touchMove", beside(far));
      await touch(context, page, "touchEnd");
    } else {
      await page.mouse.down();
      await page.mouse.move(at.x + 40, at.y, { steps: 4 });
      await page.mouse.up();
      await page.mouse.move(0, 0);
    }
    const panned = (await state(page)).look;
    assert.ok(panned.x < look.x && panned.y === look.y, `${JSON.stringify(look)}, then ${JSON.stringify(panned)}`);
    assert.equal(panned.zoom, look.zoom);
    const [x, y, zoom] = (await address(page)).get("look").split(",").map(Number);
    near([x, y, zoom], [panned.x, panned.y, panned.zoom], 1e-6, "the address");
    near(...(await shownAndAsked(page)), 1, "a pixel");
    assert.equal((await state(page)).view.zoom, 1, "the map stays");
  },

  async "keys and buttons zoom and pan the digit"({ page }) {
    await page.locator("#enlarge").focus();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "look");
    assert.equal(await page.locator("#look").evaluate((look) => getComputedStyle(look).outlineStyle), "solid");
    for (const key of ["+", "+", "-", "+", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowDown"]) await page.keyboard.press(key);
    const { look } = await state(page);
    near([look.x, look.y, look.zoom], [0.5 + 0.1 / 2.25, 0.5 - 0.1 / 2.25, 2.25], 1e-9, "the look");
    await page.keyboard.press("0");
    assert.deepEqual((await state(page)).look, { x: 0.5, y: 0.5, zoom: 1 });
    for (const id of ["look-in", "look-in", "look-out"]) await page.locator(`#${id}`).click();
    assert.equal((await state(page)).look.zoom, 1.5);
    await page.locator("#look-whole").click();
    await page.locator("#look-in").click();
    await page.locator("#look").dblclick();
    assert.equal((await state(page)).look.zoom, 1);
  },

  async "a zoom into the digit stays sharp"({ page }) {
    await setLook(page, { softness: 0.05 });
    await rest(page);
    const [whole] = await shownAndAsked(page);
    const side = Math.sqrt(whole.length);
    const quarter = whole.filter((_, i) => [i % side, Math.floor(i / side)].every((at) => at >= side * 0.375 && at < side * 0.625));
    await setLook(page, { look: { x: 0.5, y: 0.5, zoom: 4 } });
    await rest(page);
    const [zoomed, asked] = await shownAndAsked(page);
    near(zoomed, asked, 1, "a pixel of the part, drawn for itself");
    const [before, after] = [edgeWidth(quarter), edgeWidth(zoomed)];
    // Edges that are wide already grow with the zoom; a picture that is stretched adds its own blur.
    assert.ok(after < before * 4.05, `edges of ${after} pixels, ${before} before a zoom of 4`);
    assert.ok(after > 0.1);
  },

  async "the zoom ends where places are no longer distinct"({ page }) {
    await page.locator("#look").focus();
    for (let i = 0; i < 40; i++) await page.keyboard.press("+");
    const { zoom } = (await state(page)).look;
    const [side] = await device(page);
    assert.equal(zoom, (28 / side) * 2 ** 18);
    await rest(page);
    near(...(await shownAndAsked(page)), 1, "a pixel");
    assert.match(await page.locator("#digit-caption").textContent(), /, \d\d,\d\d\d×$/);
  },

  async "the softness slider sharpens the digit, the manifold and the strip"({ page }) {
    await page.evaluate(() => {
      const { store } = window.explorer;
      const { z } = store.state;
      store.change({ pins: [z, z.map((value) => value + 1)], layer: "digits", held: true });
    });
    await rest(page);
    const slider = page.getByLabel("Softness");
    assert.equal(await slider.getAttribute("aria-valuetext"), "1, as trained");
    const look = () => Promise.all(["digit", "map-base", "strip"].map((id) => ink(page, id)));
    const before = [...(await look()), edgeWidth((await shownAndAsked(page))[0])];
    await slider.focus();
    await page.keyboard.press("Home");
    const { softness } = await state(page);
    near([softness], [0.05], 0.001, "the least");
    await page.waitForTimeout(1000);
    const after = [...(await look()), edgeWidth((await shownAndAsked(page))[0])];
    for (const i of [0, 1, 2]) assert.notEqual(after[i].sum, before[i].sum);
    assert.ok(after[3] < before[3] / 2, `edges of ${after[3]} pixels, ${before[3]} before`);
    near(...(await shownAndAsked(page)), 1, "a pixel");
    near([Number((await address(page)).get("soft"))], [softness], 1e-4, "the address");
    await page.keyboard.press("ArrowRight");
    near([(await state(page)).softness], [softness * 10 ** 0.01], 1e-3, "a step is a ratio");
    await page.keyboard.press("End");
    assert.equal((await state(page)).softness, 1);
    assert.equal((await address(page)).get("soft"), null);
  },

  async "a digit of the manifold has the screen's own pixels at every zoom"({ page, task }) {
    await setLook(page, { softness: 0.1 });
    await show(page, "digits");
    for (const zoom of [1, 8]) {
      await setLook(page, { view: { x: 0, y: 0, zoom } });
      await page.waitForTimeout(1500);
      const off = await page.evaluate(async () => {
        const { models, map, store } = window.explorer;
        const { clientWidth: width, clientHeight: height } = map.element;
        const columns = Math.floor(width / 38);
        const side = Math.floor((width / columns) * devicePixelRatio);
        const rows = store.state.z.length === 1 ? 1 : Math.round((height * devicePixelRatio) / side);
        const corner = (whole, count) => Math.round((whole * devicePixelRatio - count * side) / 2);
        const left = corner(width, columns) + (columns >> 1) * side;
        const top = corner(height, rows) + (rows >> 1) * side;
        // The plane at the middle of that digit, as the map has it.
        const { view, z } = store.state;
        const scale = (Math.min(width, height) / 2 / map.radius) * view.zoom;
        const to = [(left + side / 2) / devicePixelRatio - width / 2, height / 2 - (top + side / 2) / devicePixelRatio].map((way) => way / scale);
        const { mean, axes } = map.plane;
        const along = axes.map((axis) => z.reduce((sum, value, i) => sum + (value - mean[i]) * axis[i], 0));
        const there = z.map((value, i) => value + (to[0] - along[0]) * axes[0][i] + (to[1] - along[1]) * axes[1][i]);
        const places = Float32Array.from({ length: side }, (_, i) => (i + 0.5) / side);
        const { pixels } = await models.render(there, 1, { rows: places, columns: places, pixel: 28 / side, softness: 0.1 });
        const { data } = map.base.getContext("2d").getImageData(left, top, side, side);
        return pixels.reduce((sum, value, i) => sum + Math.abs(value * 255 - data[i * 4 + 3]), 0) / pixels.length;
      });
      assert.ok(off < 0.6, `zoom ${zoom}: pixels are off by ${off} grey levels`);
      await page.screenshot({ path: `${task.out}/${task.name}-manifold-${zoom}.png` });
    }
  },

  async "the digit is saved with as many pixels as one likes"({ page, task }) {
    await setLook(page, { softness: 0.1, look: { x: 0.5, y: 0.5, zoom: 2 } });
    const saved = async (size) => {
      await page.locator("#size").fill(String(size));
      const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#save-digit").click()]);
      assert.match(download.suggestedFilename(), new RegExp(`^digit-[-\\d._]+-${size}\\.png$`));
      const file = `${task.out}/digit-${task.name}-${size}.png`;
      await download.saveAs(file);
      return readFileSync(file);
    };
    const [small] = await device(page);
    const [, asked] = await shownAndAsked(page);
    for (const size of [1080, small]) {
      const bytes = await saved(size);
      assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [size, size]);
      const greys = await page.evaluate(async (data) => {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        const bitmap = await createImageBitmap(new Blob([bytes]));
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        const to = canvas.getContext("2d");
        to.drawImage(bitmap, 0, 0);
        return [...to.getImageData(0, 0, bitmap.width, bitmap.height).data].filter((_, i) => i % 4 === 0);
      }, bytes.toString("base64"));
      assert.equal(greys.length, size * size);
      // From #ffffff to #1a1d24, of which the red is compared.
      if (size === small) near(greys, asked.map((ink) => 255 - (ink / 255) * (255 - 0x1a)), 1, "a pixel");
    }
    assert.equal(await page.locator("#said").textContent(), "Saved.");
  },

  async "saving a digit can be stopped, and a size that cannot be is told"({ page }) {
    await page.locator("#size").fill("16000");
    await page.locator("#save-digit").click();
    await page.waitForFunction(() => /^Stop \(\d+ %\)$/.test(document.getElementById("save-digit").textContent));
    const { z } = await state(page);
    await page.locator("#origin").click(); // the page goes on
    await page.locator("#draw-prior").click();
    await rest(page);
    near(...(await shownAndAsked(page)), 1, "a pixel");
    assert.notDeepEqual((await state(page)).z, z);
    await page.locator("#save-digit").click();
    await page.waitForFunction(() => document.getElementById("said").textContent === "Stopped; nothing was saved.");
    assert.equal(await page.locator("#save-digit").textContent(), "Save digit");
    await page.locator("#size").fill("99999");
    await page.locator("#save-digit").click();
    await page.locator("#size-problem:not([hidden])").waitFor();
    assert.match(await page.locator("#size-problem").textContent(), /^The size is 99999, expected whole pixels from 1 to 32,768\.$/);
  },
};
