// The files of the page, from a server as it has them.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import test from "node:test";
import { gzipSync } from "node:zlib";
import {
  kindOf,
  nameOf,
  Problem,
  readFile,
  readLatents,
  readSite,
  unzip,
} from "../../../pipeline/exploring/site/src/site";
import { near } from "./near.mjs";

// Two digits with two latents: int16, the low byte first, then the labels.
const LATENTS = Uint8Array.of(1, 0, 0, 1, 0xff, 0xff, 0, 0x80, 7, 255);
const FILE = { path: "data/latents.bin", bytes: 10, sha256: createHash("sha256").update(LATENTS).digest("hex") };
const SITE = { schema: 3, latent_dim: 2, images: 2, step: [0.5, 0.001], files: { latents: FILE } };
const FILES = {
  "/good/site.json": JSON.stringify(SITE),
  "/good/data/latents.bin": LATENTS,
  "/altered/data/latents.bin": LATENTS.toReversed(),
  "/short/data/latents.bin": LATENTS.subarray(1),
  "/newer/site.json": JSON.stringify({ ...SITE, schema: 4 }),
  "/foreign/site.json": "<!doctype html>",
};

const server = createServer(({ url }, answer) => answer.writeHead(url in FILES ? 200 : 404).end(FILES[url]));
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const base = `http://127.0.0.1:${server.address().port}`;
test.after(() => server.close());

test("latents are read in the steps of their latent, then labels", async () => {
  const site = await readSite(`${base}/good/`);
  const { z, labels } = await readLatents(site, `${base}/good/`);
  near(z, [0.5, 0.256, -0.5, -32.768], 1e-5);
  assert.deepEqual([...labels], [7, 255]);
});

test("latents of another number of images are refused", async () => {
  await assert.rejects(readLatents({ ...SITE, images: 3 }, `${base}/good/`), /does not hold 3 images/);
});

for (const [folder, pattern] of Object.entries({
  altered: /latents\.bin is not the file .* SHA-256/,
  short: /latents\.bin is not the file .* 9 bytes, expected 10/,
  missing: /latents\.bin is missing: .* 404/,
}))
  test(`a file that is ${folder} is told to the person`, async () => {
    await assert.rejects(readFile(FILE, `${base}/${folder}/`), (error) => {
      assert.ok(error instanceof Problem);
      assert.match(error.message, pattern);
      return true;
    });
  });

for (const folder of ["newer", "foreign"])
  test(`a site.json that is ${folder} is refused`, async () => {
    await assert.rejects(readSite(`${base}/${folder}/`), /site\.json is not what this page expects/);
  });

test("a server that is gone is told", async () => {
  await assert.rejects(readFile(FILE, "http://127.0.0.1:1/"), /could not be loaded: the server does not answer/);
});

test("an image is called by its class, or by its row where it has none", () => {
  const shop = { noun: "image", classes: ["boot", "bag"] };
  const labels = Uint8Array.of(1, 0, 255);
  const names = [0, 1, 2].map((row) => nameOf(shop, labels, row));
  assert.deepEqual(names, ["bag", "boot", "number 2"]);
  assert.equal(nameOf({ ...shop, classes: [] }, labels, 0), "number 0");
  assert.deepEqual([kindOf(shop), kindOf({ ...shop, noun: "letter" })], ["class", "letter"]);
});

test("a gzip file is unpacked, unless the server did that", async () => {
  const packed = new Uint8Array(gzipSync(LATENTS));
  for (const bytes of [packed, LATENTS]) assert.deepEqual(new Uint8Array(await unzip(bytes, "x.gz")), LATENTS);
  await assert.rejects(unzip(packed.slice(0, 15), "x.gz"), /^Error: x\.gz is damaged\. Copy the whole folder/);
});
