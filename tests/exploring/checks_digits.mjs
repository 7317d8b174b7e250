// Digits that are drawn, dropped, pinned and compared.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { state, rest, ink, point, hold, stroke, SEVEN, near } from "./hands.mjs";

/** A page of a bundle that tells what score is usual: quantiles, or null. */
async function visitWith({ open, visit, task }, usual) {
  const opened = await open();
  const site = await (await fetch(`${task.url}site.json`)).json();
  await opened.page.route("**/site.json", (route) => route.fulfill({ json: { ...site, usual } }));
  await visit(opened.page);
  return opened;
}

/** How much of the colour each pixel of a canvas has, from 0 to 255. */
const opacities = (page, id) =>
  page.locator(`#${id}`).evaluate((canvas) => [...canvas.getContext("2d").getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 3));

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

  async "a digit's excess is told in nats, and shown where it lies"({ page, task }) {
    const { reconstruction, kl } = JSON.parse(readFileSync(task.digit, "utf8"));
    await page.locator("#image-file").setInputFiles(task.picture);
    await page.locator("#unusual").waitFor();
    const text = await page.locator("#nats").textContent();
    const [, ...told] = text.match(/^Excess ([\d.]+) nats: reconstruction ([\d.]+), KL ([\d.]+)\.$/).map(Number);
    near(told, [reconstruction + kl, reconstruction, kl], 0.1 + (reconstruction + kl) / 100, text); // half the digits
    const wanted = await page.evaluate(async () => {
      const { models, store } = window.explorer;
      const { mean } = await models.encode(store.state.drawing);
      const { pixels } = await models.decode(mean);
      const part = (share, of) => (share ? share * Math.log(share / of) : 0);
      return [...store.state.drawing].map((value, i) => part(value / 255, pixels[i]) + part(1 - value / 255, 1 - pixels[i]));
    });
    near(await opacities(page, "excess"), wanted.map((nats) => Math.min(nats / 3, 1) * 255), 1, "the colour of a pixel");
    assert.match(await page.locator("#excess").getAttribute("aria-label"), /^Excess by pixel: \d+ % of it in the (upper|middle|lower)/);
    assert.match(await page.locator("#unusual").innerText(), /A pixel’s excess: 0\s+to 3 nats or more/);
    await page.waitForFunction((text) => document.getElementById("unusual-said").textContent.endsWith(text), text);
  },

  async "a digit is ranked among held-out ones where the bundle can, and an empty pad is not"(of) {
    const { reconstruction, kl, pixels } = JSON.parse(readFileSync(of.task.digit, "utf8"));
    const ink = pixels.flat().reduce((sum, value) => sum + value / 255, 0);
    const score = (reconstruction + kl) / Math.sqrt(1 + ink);
    const quantiles = Array.from({ length: 1001 }, (_, i) => (score * i) / 250); // a quarter has less
    const { page, seen, context } = await visitWith(of, { images: 5000, quantiles });
    assert.ok(await page.locator("#rank").isHidden());
    await page.locator("#image-file").setInputFiles(of.task.picture);
    await page.locator("#rank").waitFor();
    const rank = await page.locator("#rank").textContent();
    near([Number(rank.match(/^More unusual than (\d+\.\d) % of held-out digits$/)[1])], [25], 1, rank);
    const marked = await page.locator("#percentile").evaluate((bar) => Number.parseFloat(getComputedStyle(bar, "::before").marginLeft) / bar.clientWidth);
    near([marked], [0.25], 0.03, "the mark on the bar");
    await page.waitForFunction((rank) => document.getElementById("unusual-said").textContent.startsWith(rank), rank);
    await page.locator("#clear").click();
    assert.ok(await page.locator("#unusual").isHidden());
    assert.ok((await opacities(page, "excess")).every((value) => value === 0));
    await page.waitForFunction(() => document.getElementById("unusual-said").textContent === "");
    assert.deepEqual(seen.said, []);
    await context.close();

    const other = await visitWith(of, null);
    await other.page.locator("#image-file").setInputFiles(of.task.picture);
    await other.page.locator("#nats").waitFor();
    assert.ok(await other.page.locator("#ranked").isHidden());
    await other.context.close();
  },

  async "nothing jumps or goes blank while one draws"(of) {
    const quantiles = Array.from({ length: 1001 }, (_, i) => i);
    const { page, context } = await visitWith(of, { images: 5000, quantiles });
    const with_ = { ...of, page, context };
    await stroke(with_, SEVEN);
    await page.locator("#neighbours li").nth(5).waitFor();
    await page.evaluate(() => {
      const [shown, map] = ["unusual", "excess"].map((id) => document.getElementById(id));
      window.seen_ = { ranks: new Set(), heights: new Set(), blank: 0, frames: 0 };
      const look = () => {
        const { data } = map.getContext("2d").getImageData(0, 0, 28, 28);
        window.seen_.frames++;
        window.seen_.blank += data.every((value) => value === 0);
        window.seen_.heights.add(shown.offsetHeight);
        window.seen_.ranks.add(document.getElementById("rank").textContent);
        requestAnimationFrame(look);
      };
      look();
    });
    for (const way of [[[0.2, 0.2], [0.8, 0.8]], [[0.8, 0.2], [0.5, 0.9]]]) await stroke(with_, way);
    await rest(page);
    const { ranks, heights, blank, frames } = await page.evaluate(() => {
      const { ranks, heights, ...rest } = window.seen_;
      return { ranks: [...ranks], heights: [...heights], ...rest };
    });
    assert.ok(ranks.length > 1 && frames > 5, `${ranks.length} ranks in ${frames} frames`);
    assert.equal(blank, 0, "blank frames");
    assert.equal(heights.length, 1, `heights of ${heights}`);
    await context.close();
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
