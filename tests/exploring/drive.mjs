// node drive.mjs TASK.json : does to the page in headless Chromium what a person does, and prints what came of each
// check of checks.mjs or troubles.mjs as JSON: null if it holds, else why not.
import { readFileSync } from "node:fs";
import { chromium } from "../runtimes/node_modules/playwright-core/index.mjs";
import { CHECKS } from "./checks.mjs";
import { TROUBLES } from "./troubles.mjs";

const FLAGS = [
  "--no-sandbox", // a test machine's user is often root, where the sandbox does not work; only our own pages are opened
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const SIZES = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
};

const task = JSON.parse(readFileSync(process.argv[2], "utf8"));
const launch = (...flags) =>
  chromium.launch({ executablePath: task.chromium, headless: true, args: [...FLAGS, ...flags] });
const browser = await launch();

/** A page in a fresh browser profile, with everything it says and asks for. */
async function open(options = {}) {
  const context = await browser.newContext({ ...SIZES[task.size ?? "desktop"], colorScheme: "light", ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  const seen = { said: [], asked: [] };
  page.on("console", (message) => {
    const own = message.text().includes("willReadFrequently"); // what we read back ourselves
    if (["error", "warning"].includes(message.type()) && !own) seen.said.push(message.text());
  });
  page.on("pageerror", (error) => seen.said.push(String(error)));
  context.on("request", (request) => seen.asked.push(request.url()));
  return { page, seen, context };
}

async function visit(page, fragment = "") {
  await page.goto(task.url + fragment);
  await page.waitForSelector("html[data-ready]", { timeout: 60_000 });
  return page;
}

/** Everything as it is at first, on the page that is open. */
async function reset({ page, seen }) {
  seen.said.length = 0;
  await page.emulateMedia({ colorScheme: "light" });
  await page.evaluate(() => {
    location.hash = "first";
    scrollTo(0, 0);
  });
  await page.waitForTimeout(400); // until the address is written again
}

const results = {};
const figures = {};
try {
  let of = null;
  for (const [name, check] of Object.entries(task.troubles ? TROUBLES : CHECKS)) {
    if (task.only && !task.only.includes(name)) continue;
    try {
      if (of) await reset(of);
      else {
        of = await open();
        if (!task.troubles) await visit(of.page);
      }
      await check({ ...of, task, figures, visit, open, launch });
      results[name] = !task.troubles && of.seen.said.length ? `on the console: ${of.seen.said.join(" | ")}` : null;
    } catch (error) {
      results[name] = `${error.stack ?? error}`.slice(0, 1500);
    }
    console.error(`${name}: ${results[name] ?? "holds"}`);
    if (!task.troubles && results[name] === null) continue; // the next check has this page
    await of.context.close();
    of = null;
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify({ results, figures }));
