// The explorer page as a person uses it, by keyboard where that is possible. Screenshots go to $SCREENSHOTS, if that is set.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { serve, start, tab } from "./browser.mjs";

let server, profile, context, page;
before(async () => {
  profile = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
  server = await serve(path.join(import.meta.dirname, "../../site"));
  context = await start(profile);
  page = await tab(context, server.url);
  await page.setViewportSize({ width: 1280, height: 800 });
  page.on("dialog", (dialog) => dialog.accept());
});
after(async () => {
  await context.close();
  await server.close().catch(() => {});
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

async function picture(name) {
  const folder = process.env.SCREENSHOTS;
  if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`) });
}
const says = (id, wanted) =>
  page.waitForFunction(([id, wanted]) => document.getElementById(id).textContent.includes(wanted), [id, wanted]);
const keys = () => page.$$eval("#rows li span:first-child", (cells) => cells.map((cell) => cell.textContent));
const choose = (name, body) => page.setInputFiles("#file", { name, mimeType: "text/plain", buffer: Buffer.from(body) });

test("an empty database says so", async () => {
  await says("status", "Open");
  await says("found", "0 rows");
  await picture("empty");
});

test("a file of rows is loaded, and searched by prefix as it is typed", async () => {
  const cities = ["Aachen", "Aalborg", "Berlin", "Bergen", "Bern", "Zürich"];
  const lines = Array.from({ length: 3000 }, (_, n) => `${cities[n % 6]} ${String(n).padStart(4, "0")}\tvisitor ${n}`);
  await choose("visitors.tsv", lines.join("\n"));
  await says("status", "3000 rows of visitors.tsv");
  await says("found", "The first 500 rows");
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await page.keyboard.type("Ber");
  await page.waitForFunction(() => document.querySelector("#rows span")?.textContent.startsWith("Ber"));
  assert.ok((await keys()).every((key) => key.startsWith("Ber")));
  await page.keyboard.type("gen 000");
  await says("found", "2 rows");
  assert.deepEqual(await keys(), ["Bergen 0003", "Bergen 0009"]);
  await picture("search");
});

test("a row is chosen, edited, saved and deleted by keyboard", async () => {
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  assert.equal(await page.inputValue("#key"), "Bergen 0009");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("came back");
  await page.keyboard.press("Control+Enter");
  await says("status", "Saved Bergen 0009");
  assert.match(await page.textContent("#rows"), /came back/);
  await picture("edited");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Delete");
  await says("status", "Deleted Bergen 0009");
  assert.deepEqual(await keys(), ["Bergen 0003"]);
});

test("an archive brings a database back", async () => {
  const waiting = page.waitForEvent("download");
  await page.click("#export");
  const archive = await (await waiting).path();
  await page.click("#clear");
  await says("status", "Everything is gone");
  await page.fill("#search", "");
  await says("found", "0 rows");
  await page.setInputFiles("#file", { name: "visitors.trine", mimeType: "", buffer: fs.readFileSync(archive) });
  await says("status", "visitors.trine is here now");
  await says("found", "The first 500 rows");
});

test("a damaged archive is told, and what is there stays", async () => {
  await choose("broken.trine", `TRINEARC${"x".repeat(100)}`);
  await page.waitForSelector("#status.bad");
  await says("found", "The first 500 rows");
  await picture("refused");
});

test("rates are compared with IndexedDB", async () => {
  await page.click("#clear");
  await says("status", "Everything is gone");
  await choose("a.json", '{"one": 1, "two": {"three": 3}}');
  await says("status", "2 rows of a.json");
  await page.click("#compare");
  await says("status", "10,000 rows");
  assert.equal(await page.$$eval("#rates tbody tr", (rows) => rows.length), 5);
  assert.deepEqual(await keys(), ["one", "two"]);
  await picture("rates");
});

test("without a network the page opens, with its rows", async () => {
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.reload();
  await server.close();
  await page.reload();
  await says("found", "2 rows");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture("offline-dark");
});
