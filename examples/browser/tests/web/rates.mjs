// Prints the rates of rates.js as a table: node tests/web/rates.mjs [rows]
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { serve, start, tab } from "./browser.mjs";

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
const server = await serve(path.join(import.meta.dirname, "../.."));
const context = await start(profile);
const page = await tab(context, `${server.url}tests/web/`);
const rates = await page.evaluate((rows) => window.call("rates", rows), Number(process.argv[2] ?? 20_000));
const [[theirs, slow], [ours, fast]] = Object.entries(rates);
console.log(`| rows each second | ${theirs} | ${ours} | ratio |\n|---|---|---|---|`);
for (const [name, rate] of Object.entries(fast)) {
  console.log(`| ${name} | ${slow[name]} | ${rate} | ${(rate / slow[name]).toFixed(1)} |`);
}
await context.close();
await server.close();
fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
