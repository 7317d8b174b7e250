// What the page says when something is missing, altered or foreign: each check gets a page that is not yet opened.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const fetched = async (task, path) => Buffer.from(await (await fetch(task.url + path)).arrayBuffer());

async function told(of, pattern) {
  await of.visit(of.page);
  assert.ok(await of.page.locator("#page").isHidden(), "no empty canvas");
  assert.match(await of.page.getByRole("alert").textContent(), pattern);
}

const lost = (path, pattern = new RegExp(`${path.split("/").at(-1)} is missing: the server answered with status 404`)) =>
  async (of) => {
    await of.page.route(`**/${path}`, (route) => route.fulfill({ status: 404 }));
    await told(of, pattern);
  };

const other = (path, change, pattern) => async (of) => {
  const body = await change(await fetched(of.task, path), of.task);
  await of.page.route(`**/${path}`, (route) => route.fulfill({ body }));
  await told(of, pattern);
};

const flipped = (bytes) => {
  bytes[bytes.length >> 1] ^= 1;
  return bytes;
};

/** Another model under a name of the site, which knows of it. */
const foreign = (path, pattern) => async (of) => {
  const body = await fetched(of.task, path);
  const site = JSON.parse(await fetched(of.task, "site.json"));
  const sha256 = createHash("sha256").update(body).digest("hex");
  site.files.renderer = { ...site.files.renderer, bytes: body.length, sha256 };
  await of.page.route("**/site.json", (route) => route.fulfill({ json: site }));
  await of.page.route("**/renderer/model.onnx", (route) => route.fulfill({ body }));
  await told(of, pattern);
};

export const TROUBLES = {
  "a lost model": lost("renderer/model.onnx"),
  "lost latents": lost("data/latents.bin"),
  "a lost site.json": lost("site.json"),
  "a lost runtime": lost("ort-wasm-simd-threaded.wasm.gz"),
  "a lost worker": lost("worker.js", /worker\.js could not be started/),

  "an altered model": other(
    "renderer/model.onnx",
    flipped,
    /renderer\/model\.onnx is not the file .* it has the SHA-256 [0-9a-f]{12}…, expected [0-9a-f]{12}…/,
  ),
  "altered latents": other("data/latents.bin", flipped, /data\/latents\.bin is not the file .* SHA-256/),
  "a model that is cut short": other("renderer/model.onnx", (bytes) => bytes.subarray(1000), /bytes, expected [\d,]+/),
  "a page where the model should be": other("renderer/model.onnx", () => "<!doctype html>", /it has 15 bytes/),
  "a site.json of something else": other("site.json", () => '{"schema": 99}', /site\.json is not what this page expects/),
  "a runtime that is damaged": other("ort-wasm-simd-threaded.wasm.gz", (bytes) => bytes.subarray(0, 5000), /wasm\.gz is damaged/),

  async "a runtime that the server unpacked does no harm"({ page, visit, task }) {
    const body = gunzipSync(await fetched(task, "ort-wasm-simd-threaded.wasm.gz"));
    await page.route("**/*.wasm.gz", (route) => route.fulfill({ body }));
    await visit(page);
    assert.ok(await page.locator("#map").isVisible());
  },

  "a foreign model": foreign("encoder/model_fp16.onnx", /renderer\/model\.onnx is another model: it has image, z_/),
  "a file that is no model": foreign("icon.svg", /renderer\/model\.onnx cannot be run/),

  async "a model with other latents"(of) {
    const site = JSON.parse(await fetched(of.task, "site.json"));
    site.latent_dim = 3;
    await of.page.route("**/site.json", (route) => route.fulfill({ json: site }));
    await told(of, /(another model: it has 2 latents, expected 3|latents\.bin does not hold)/);
  },

  async "a server that is gone"(of) {
    await of.page.route("**/renderer/model.onnx", (route) => route.abort());
    await told(of, /renderer\/model\.onnx could not be loaded: the server does not answer/);
  },

  async "no SIMD"({ task, visit, launch }) {
    if (process.arch !== "x64") return; // elsewhere V8 can't be without it
    const browser = await launch("--js-flags=--no-enable-sse4-1");
    try {
      const page = await visit(await browser.newPage());
      assert.match(await page.locator("#problem-text").textContent(), /This browser has no WebAssembly with SIMD/);
      assert.ok(await page.locator("#page").isHidden());
    } finally {
      await browser.close();
    }
  },

  async "no WebAssembly"(of) {
    await of.page.addInitScript(() => {
      delete window.WebAssembly;
    });
    await told(of, /This browser has no WebAssembly with SIMD/);
  },

  async "no script"(of) {
    await of.page.route("**/app.js", (route) => route.fulfill({ status: 404 }));
    await of.page.goto(of.task.url);
    assert.match(await of.page.locator("#loading").textContent(), /a file of the page is missing/);
    assert.ok(await of.page.locator("#loading").isVisible());
  },

  async "a lost encoder is told where one draws"({ page, visit }) {
    await page.route("**/encoder/**", (route) => route.fulfill({ status: 404 }));
    await visit(page);
    await page.locator("#random-digit").click();
    await page.locator("#drawing-problem:not([hidden])").waitFor();
    assert.match(await page.locator("#drawing-problem").textContent(), /encoder\/\S+ is missing/);
    assert.ok(await page.locator("#map").isVisible());
  },

  async "a lost int8 model is told where one compares"({ page, visit }) {
    await page.route("**/decoder/model_quantized.onnx", (route) => route.fulfill({ status: 404 }));
    await visit(page);
    await page.locator("#compare").check();
    await page.locator("#compare-problem:not([hidden])").waitFor();
    assert.match(await page.locator("#compare-problem").textContent(), /quantized\.onnx is missing/);
  },

  async "lost pictures are told"({ page, visit }) {
    await page.route("**/data/images.webp", (route) => route.fulfill({ status: 404 }));
    await visit(page);
    await page.locator("#random-digit").click();
    await page.locator("#drawing-problem:not([hidden])").waitFor();
    assert.match(await page.locator("#drawing-problem").textContent(), /images\.webp is missing/);
  },

  async "a file that is no image"({ page, visit, task }) {
    await visit(page);
    await page.locator("#image-file").setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: readFileSync(task.vectors) });
    await page.locator("#drawing-problem:not([hidden])").waitFor();
    assert.match(await page.locator("#drawing-problem").textContent(), /notes\.txt is not an image/);
  },
};
