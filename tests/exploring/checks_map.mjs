// The map: pointer, finger, keys, legend, zoom, and the digit that follows.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { state, rest, ink, place, show, isPhone, touch, point, hold, near } from "./hands.mjs";

export const MAP = {
  async "decodes the test vectors"({ page, task, figures }) {
    const { z, images } = JSON.parse(readFileSync(task.vectors, "utf8"));
    const found = await page.evaluate(
      async ({ z, rows }) => [...(await window.explorer.models.decode(Float32Array.from(z), rows)).pixels],
      { z: z.flat(), rows: z.length },
    );
    const wanted = images.flat(2);
    figures.largest_difference = Math.max(...found.map((value, i) => Math.abs(value - wanted[i])));
    assert.equal(found.length, wanted.length);
    assert.ok(figures.largest_difference <= 1e-4, `off by ${figures.largest_difference}`);
  },

  async "the pointer or a finger moves the point and the digit"(of) {
    const { page, task } = of;
    await point(of, 0.5, 0.5);
    const middle = await state(page);
    const before = await ink(page, "digit");
    await point(of, 0.7, 0.3);
    await rest(page);
    const after = await state(page);
    assert.notDeepEqual(after.z, middle.z);
    assert.notEqual((await ink(page, "digit")).sum, before.sum);
    if (task.latents <= 2) near(middle.z, middle.z.map(() => 0), 0.05, "the middle of the map");
    if (task.latents <= 2) assert.ok(after.z[0] > 0.2, "to the right");
    if (task.latents === 2) assert.ok(after.z[1] > 0.2, "and up");
    assert.match(await page.locator("#nearest-to-point").textContent(), /^Nearest test digit: \d, [\d.]+ away\.$/);
  },

  async "a click holds the point and another lets go"(of) {
    const { page, task } = of;
    if (isPhone(task)) return; // a finger that is lifted holds it
    await hold(of, 0.6, 0.5);
    const { z } = await state(page);
    await point(of, 0.2, 0.2);
    assert.deepEqual((await state(page)).z, z);
    const at = await place(page, 0.3, 0.5);
    await page.mouse.click(at.x, at.y);
    await point(of, 0.4, 0.5);
    assert.notDeepEqual((await state(page)).z, z);
  },

  async "keys move, zoom, pin and hold; focus shows"({ page, task }) {
    await page.locator("#legend button").last().focus();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "map");
    assert.equal(await page.locator("#map").evaluate((map) => getComputedStyle(map).outlineStyle), "solid");
    const start = await state(page);
    for (const key of ["ArrowRight", "Shift+ArrowRight", "ArrowUp"]) await page.keyboard.press(key);
    const moved = await state(page);
    assert.notDeepEqual(moved.z, start.z);
    if (task.latents <= 2) assert.ok(moved.z[0] > start.z[0]);
    if (task.latents === 2) assert.ok(moved.z[1] > start.z[1]);
    await page.keyboard.press("a");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("b");
    const { pins } = await state(page);
    assert.notDeepEqual(pins[0], pins[1]);
    const { zoom } = (await state(page)).view;
    await page.keyboard.press("+");
    assert.equal((await state(page)).view.zoom, zoom * 1.5);
    await page.keyboard.press("0");
    assert.equal((await state(page)).view.zoom, 1);
    const { held } = await state(page);
    await page.keyboard.press("Enter");
    assert.equal((await state(page)).held, !held);
  },

  async "a slider for each latent"({ page, task }) {
    const sliders = page.locator("#sliders input");
    assert.equal(await sliders.count(), task.latents);
    const { z } = await state(page);
    const last = sliders.last();
    await last.focus();
    for (let i = 0; i < 30; i++) await page.keyboard.press("ArrowRight");
    const moved = await state(page);
    const changed = moved.z.flatMap((value, i) => (value === z[i] ? [] : [i]));
    assert.equal(changed.length, 1);
    assert.match(await last.getAttribute("aria-label"), new RegExp(`^Latent ${changed[0]}, KL`));
    await page.locator("#origin").click();
    assert.deepEqual((await state(page)).z, new Array(task.latents).fill(0));
    await page.locator("#draw-prior").click();
    assert.ok((await state(page)).z.every((value) => value !== 0 && Math.abs(value) < 8));
  },

  async "the legend hides and shows digits"({ page }) {
    const all = await ink(page, "map-base");
    const three = page.getByRole("button", { name: "Digit 3" });
    await three.click();
    await rest(page);
    const without = await ink(page, "map-base");
    assert.equal(await three.getAttribute("aria-pressed"), "false");
    assert.ok(without.alpha < all.alpha, `${without.alpha} < ${all.alpha}`);
    await three.click();
    await rest(page);
    assert.deepEqual(await ink(page, "map-base"), all);
    await page.getByRole("button", { name: "none", exact: true }).click();
    assert.equal((await state(page)).hidden.length, 10);
    await page.getByRole("button", { name: "all", exact: true }).click();
    assert.equal((await state(page)).hidden.length, 0);
  },

  async "the map zooms and pans"({ page, context, task }) {
    const at = await place(page, 0.4, 0.4);
    if (isPhone(task)) {
      const beside = (dx, dy = 0) => ({ x: at.x + dx, y: at.y + dy });
      await touch(context, page, "touchStart", beside(-20), beside(20));
      for (const wide of [30, 45, 60]) await touch(context, page, "touchMove", beside(-wide), beside(wide));
      await touch(context, page, "touchEnd");
      const zoomed = await state(page);
      assert.ok(Math.abs(zoomed.view.zoom - 3) < 0.2, `${zoomed.view.zoom}`);
      await touch(context, page, "touchStart", beside(-20), beside(20));
      for (const far of [15, 40]) await touch(context, page, "touchMove", beside(-20 + far), beside(20 + far));
      await touch(context, page, "touchEnd");
      assert.ok((await state(page)).view.x < zoomed.view.x);
    } else {
      await page.mouse.move(at.x, at.y);
      await page.mouse.wheel(0, -300);
      const zoomed = await state(page);
      assert.ok(zoomed.view.zoom > 1.2, `${zoomed.view.zoom}`);
      await page.mouse.down();
      await page.mouse.move(at.x + 100, at.y + 50, { steps: 5 });
      await page.mouse.up();
      const panned = await state(page);
      assert.ok(panned.view.x < zoomed.view.x);
      assert.ok(panned.view.y > zoomed.view.y);
      assert.equal(panned.held, false, "a drag is no click");
    }
    const { zoom } = (await state(page)).view;
    await page.locator("#zoom-in").click();
    assert.ok(Math.abs((await state(page)).view.zoom - zoom * 1.5) < 1e-6);
    await page.locator("#zoom-whole").click();
    assert.deepEqual((await state(page)).view, { x: 0, y: 0, zoom: 1 });
  },

  async "the manifold follows the zoom, without an empty moment"({ page, figures }) {
    await page.evaluate(() => {
      const base = document.getElementById("map-base").getContext("2d");
      const clear = base.clearRect.bind(base);
      const draw = base.drawImage.bind(base);
      window.frames_ = [];
      base.clearRect = (...all) => (window.frames_.push(0), clear(...all));
      base.drawImage = (...all) => (window.frames_[window.frames_.length - 1]++, draw(...all));
    });
    await show(page, "digits");
    await page.waitForFunction(() => window.frames_.at(-1) === 1, null, { timeout: 10_000 });
    const whole = await ink(page, "map-base");
    await page.evaluate(() => {
      window.frames_ = [];
    });
    const start = Date.now();
    await page.locator("#zoom-in").click();
    await page.waitForFunction(() => window.frames_.length >= 2, null, { timeout: 10_000 });
    figures.manifold_ms = Date.now() - start;
    assert.ok((await page.evaluate(() => window.frames_)).every((drawn) => drawn === 1), "a frame without digits");
    assert.notEqual((await ink(page, "map-base")).sum, whole.sum);
  },

  async "all dots are drawn in a frame or so"({ page, figures }) {
    figures.dots_ms = await page.evaluate(async () => {
      const { map, store } = window.explorer;
      const base = map.base.getContext("2d");
      const times = [];
      for (let i = 0; i < 21; i++) {
        store.change({ view: { x: i / 100, y: 0, zoom: 1 + i / 50 } });
        const start = await new Promise((painted) => {
          requestAnimationFrame(() => painted(performance.now())); // after the map's own, which was asked for before
        });
        base.getImageData(0, 0, 1, 1); // what was drawn is carried out
        times.push(performance.now() - start);
      }
      return +times.sort((a, b) => a - b)[10].toFixed(1);
    });
  },

  async "the map says which plane it shows"({ page, context, task }) {
    const caption = page.locator("#caption");
    if (task.latents <= 2) {
      assert.ok(await page.locator("#plane-choice").isHidden());
      return assert.match(await caption.textContent(), task.latents === 1 ? /one latent/ : /The two latents/);
    }
    assert.match(await caption.textContent(), /^Latents \d+ and \d+, the two of 20 with the largest KL: /);
    const { z } = await state(page);
    await point({ page, context, task }, 0.3, 0.3);
    const along = (await state(page)).z.filter((value, i) => Math.abs(value - z[i]) > 1e-6);
    assert.equal(along.length, 2, "the others stay");
    const dots = await ink(page, "map-base");
    await page.locator("#plane").selectOption("principal");
    await rest(page);
    assert.match(await caption.textContent(), /^The principal plane of the 20 latents, with \d+ % of the variance/);
    assert.notEqual((await ink(page, "map-base")).sum, dots.sum);
    await page.evaluate(() => window.explorer.store.change({ held: false }));
    await point({ page, context, task }, 0.6, 0.6);
    await point({ page, context, task }, 0.5, 0.5);
    const [x, y, mean, axes] = await page.evaluate(() => {
      const { store, map } = window.explorer;
      const along = (axis) => store.state.z.reduce((sum, value, i) => sum + (value - map.plane.mean[i]) * map.plane.axes[axis][i], 0);
      return [along(0), along(1), map.plane.mean.length, map.plane.axes.length];
    });
    near([x, y, mean, axes], [0, 0, 20, 2], 0.1, "the middle of the plane");
  },
};
