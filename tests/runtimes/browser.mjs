// node browser.mjs CHROMIUM FOLDER PAGE EXPRESSION : serves FOLDER on 127.0.0.1, opens PAGE of it in headless Chromium,
// waits until EXPRESSION is true there and prints its value as JSON. An error on the page ends it with status 1.
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const FLAGS = [
  "--no-sandbox", // a test machine's user is often root, where the sandbox does not work; only our own pages are opened
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const [executablePath, folder, page, expression] = process.argv.slice(2);

const server = createServer((request, response) => {
  const path = join(folder, normalize(new URL(request.url, "http://localhost").pathname));
  const found = existsSync(path);
  response.writeHead(found ? 200 : 404, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
  if (found) createReadStream(path).pipe(response);
  else response.end();
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));

const browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
try {
  const tab = await browser.newPage();
  const failed = new Promise((_, reject) => tab.on("pageerror", reject));
  await tab.goto(`http://127.0.0.1:${server.address().port}/${page}`);
  const value = await Promise.race([failed, tab.waitForFunction(expression, null, { timeout: 60_000 })]);
  console.log(JSON.stringify(await value.jsonValue()));
} catch (error) {
  console.error(String(error));
  process.exitCode = 1;
} finally {
  await browser.close();
  server.close();
}
