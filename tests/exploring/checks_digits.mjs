// Digits that are drawn, dropped, pinned and compared.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { state, rest, ink, point, hold, stroke, SEVEN, near } from "./hands.mjs";

export const DIGITS = {
  async "a drawn digit is placed, reconstructed and has neighbours"(of) {
    const { page, seen } = of;
    await stroke(of, SEVEN);
    await page.locator("#neighbours li").nth(5).waitFor();
    await rest(page);
    const { z, drawing, held } = await state(page);
    assert.ok(held);
    assert.ok(drawing.filter((value) => value > 128).length > 30, "it has ink");
    const encoded = await page.evaluate(async () => {
      const { models, store } = window.explorer;
      return [...(await models.encode(store.state.drawing)).mean];
    });
    near(z, encoded, 1e-4, "the point");
    const marks = (await ink(page, "map-marks")).alpha;
    await page.evaluate(() => {
      window.explorer.map.placed = null;
      window.explorer.map.redraw();
    });
    await rest(page);
    assert.ok((await ink(page, "map-marks")).alpha < marks - 100, "ellipses and squares were on the map");
    assert.ok((await ink(page, "reconstruction")).alpha > 0);
    assert.ok((await ink(page, "seen")).alpha > 30);
    assert.match(await page.locator("#placed").textContent(), /^z_mean \(.*standard deviation \(/);
    for (const canvas of await page.locator("#neighbours canvas").all())
      assert.match(await canvas.getAttribute("aria-label"), /^Test digit \d+: \d$/);
    assert.ok(seen.asked.some((url) => url.includes("encoder/")));
    await page.locator("#clear").click();
    assert.equal((await state(page)).drawing, null);
    assert.ok(await page.locator("#drawn").isHidden());
  },

  async "an image file is taken, as it is if it is one of MNIST's"({ page, task }) {
    const { pixels, z_mean } = JSON.parse(readFileSync(task.digit, "utf8"));
    await page.locator("#image-file").setInputFiles(task.picture);
    await page.locator("#neighbours li").nth(5).waitFor();
    await rest(page);
    const { drawing, z } = await state(page);
    assert.deepEqual(drawing, pixels.flat());
    near(z, z_mean, 0.02, "the latents"); // the page's encoder has half the digits
  },

  async "an image can be dropped; dark on light is turned round"({ page, task }) {
    const { pixels } = JSON.parse(readFileSync(task.digit, "utf8"));
    const data = readFileSync(task.inverted).toString("base64");
    await page.evaluate((data) => {
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], "digit.png", { type: "image/png" }));
      document.getElementById("drawing").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }, data);
    await page.locator("#neighbours li").nth(5).waitFor();
    const { drawing } = await state(page);
    const shared = drawing.filter((value, i) => value > 100 && pixels.flat()[i] > 100).length;
    const all = pixels.flat().filter((value) => value > 100).length;
    assert.ok(shared > all * 0.6, `${shared} of ${all} pixels of ink`);
  },

  async "a test digit can be taken"({ page }) {
    await page.locator("#random-digit").click();
    await page.locator("#neighbours li").nth(5).waitFor();
    const first = await page.locator("#neighbours li").first().textContent();
    assert.match(first, /^\d · \d+\.\d\d$/);
  },

  async "two pins: a strip and an animation between them"(of) {
    const { page, task } = of;
    assert.ok(await page.locator("#play").isDisabled());
    await hold(of, 0.3, 0.5);
    await page.locator("#pin-a").click();
    await point(of, 0.31, 0.5);
    await hold(of, 0.7, 0.6);
    await page.locator("#pin-b").click();
    await rest(page);
    const { pins } = await state(page);
    assert.notDeepEqual(pins[0], pins[1]);
    assert.ok((await ink(page, "strip")).alpha > 100);
    await page.locator("#play").click();
    const seen = new Set();
    for (let i = 0; i < 6; i++) {
      await page.waitForTimeout(150);
      seen.add((await state(page)).z.join());
    }
    assert.ok(seen.size >= 4, `${seen.size} places in a second`);
    assert.equal(await page.locator("#play").textContent(), "Stop");
    await page.locator("#play").click();
    const stopped = await state(page);
    await page.waitForTimeout(200);
    assert.deepEqual((await state(page)).z, stopped.z);
    const box = await page.locator("#strip").boundingBox();
    await page.locator("#strip").click({ position: { x: box.width / 2, y: box.height / 2 } });
    const halfway = pins[0].map((value, i) => (value + pins[1][i]) / 2);
    near((await state(page)).z, halfway, 1e-5, "the middle of the strip");
    await page.locator("#unpin").click();
    assert.deepEqual((await state(page)).pins, [null, null]);
    assert.equal(task.latents, halfway.length);
  },

  async "int8 beside float32 on request"({ page, seen }) {
    await page.locator("#compare").check();
    await page.locator("#int8").waitFor();
    await page.waitForFunction(() => /at most/.test(document.getElementById("int8-caption").textContent));
    const off = Number((await page.locator("#int8-caption").textContent()).match(/\d\.\d+/)[0]);
    assert.ok(off > 0 && off < 0.5, `${off}`);
    assert.ok((await ink(page, "digit-int8")).alpha > 0);
    assert.ok(seen.asked.some((url) => url.includes("quantized")));
    await page.locator("#sliders input").first().press("ArrowRight");
    await page.locator("#sliders input").first().press("ArrowRight");
    await page.waitForFunction(() => /int8 (under )?[\d.]+ ms/.test(document.getElementById("facts").textContent));
    await page.locator("#compare").uncheck();
    assert.ok(await page.locator("#int8").isHidden());
  },
};
