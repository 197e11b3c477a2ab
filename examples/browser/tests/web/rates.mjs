// Prints the rates of page/rates.js as tables, from a dedicated worker and from the page: node tests/web/rates.mjs [rows]
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { serve, start, tab } from "./browser.mjs";

const rows = Number(process.argv[2] ?? 20_000);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
const server = await serve(path.join(import.meta.dirname, "../.."));
const context = await start(profile);

function print(where, rates) {
  const [[theirs, slow], [ours, fast]] = Object.entries(rates);
  console.log(`\n| ${where}: rows each second | ${theirs} | ${ours} | ratio |\n|---|---|---|---|`);
  for (const [name, rate] of Object.entries(fast)) {
    console.log(`| ${name} | ${slow[name]} | ${rate} | ${(rate / slow[name]).toFixed(1)} |`);
  }
}

let page = await tab(context, `${server.url}tests/web/`);
print("worker", await page.evaluate((rows) => window.call("rates", rows), rows));
await page.close();
page = await tab(context, `${server.url}tests/web/shared.html`);
print("window", await page.evaluate((rows) => window.measure(rows), rows));
await context.close();
await server.close();
fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
