// What a person does to the page, and what can be seen of it.
import assert from "node:assert/strict";

const RESTS = 450; // milliseconds after which the address is written and the map redrawn

export const state = (page) =>
  page.evaluate(() => {
    const { z, hidden, pins, drawing, ...rest } = window.explorer.store.state;
    return { ...rest, z: [...z], hidden: [...hidden], pins: pins.map((pin) => pin && [...pin]), drawing: drawing && [...drawing] };
  });
export const rest = (page) => page.waitForTimeout(RESTS);
/** How much ink is on a canvas, and a sum that changes with where it is. */
export const ink = (page, id) =>
  page.evaluate((id) => {
    const canvas = document.getElementById(id);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let [alpha, sum] = [0, 0];
    for (let i = 0; i < data.length; i += 4) {
      alpha += data[i + 3] > 0;
      sum = (sum * 31 + data[i] + data[i + 1] * 3 + data[i + 2] * 7 + data[i + 3]) % 1000003;
    }
    return { alpha, sum };
  }, id);
export const place = async (page, x, y, id = "map") => {
  await page.locator(`#${id}`).scrollIntoViewIfNeeded();
  const box = await page.locator(`#${id}`).boundingBox();
  return { x: box.x + box.width * x, y: box.y + box.height * y };
};
export const show = (page, layer) => page.locator(`input[value=${layer}]`).check();
export const isPhone = (task) => task.size === "phone";
/** Fingers at these places of the map, or none. */
export const touch = async (context, page, type, ...points) =>
  (page.cdp ??= await context.newCDPSession(page)).send("Input.dispatchTouchEvent", {
    type,
    touchPoints: points.map(({ x, y }, id) => ({ x, y, id })),
  });
/** Moves the point with the mouse, or with a finger. */
export const point = async ({ page, context, task }, x, y) => {
  const at = await place(page, x, y);
  if (!isPhone(task)) return page.mouse.move(at.x, at.y, { steps: 3 });
  const near = await place(page, x, y - 0.04);
  await touch(context, page, "touchStart", near);
  await touch(context, page, "touchMove", at);
  await touch(context, page, "touchEnd");
};
/** Moves the point and lets it stay, so that buttons can be reached. */
export const hold = async (of, x, y) => {
  await point(of, x, y);
  if (isPhone(of.task)) return;
  const at = await place(of.page, x, y);
  await of.page.mouse.click(at.x, at.y);
  if (!(await state(of.page)).held) await of.page.mouse.click(at.x, at.y);
};
export const stroke = async ({ page, context, task }, points) => {
  const places = [];
  for (const [x, y] of points) places.push(await place(page, x, y, "pad"));
  if (isPhone(task)) {
    await touch(context, page, "touchStart", places[0]);
    for (const at of places.slice(1)) await touch(context, page, "touchMove", at);
    return touch(context, page, "touchEnd");
  }
  await page.mouse.move(places[0].x, places[0].y);
  await page.mouse.down();
  for (const { x, y } of places.slice(1)) await page.mouse.move(x, y, { steps: 4 });
  await page.mouse.up();
};
export const SEVEN = [[0.3, 0.25], [0.7, 0.25], [0.55, 0.5], [0.42, 0.8]];
export const near = (found, wanted, within, what) => {
  assert.equal(found.length, wanted.length, what);
  for (const [i, value] of found.entries())
    assert.ok(Math.abs(value - wanted[i]) <= within, `${what}: ${value} at ${i}, expected ${wanted[i]}`);
};
