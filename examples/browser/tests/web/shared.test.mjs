// The package: windows, shared workers, and several tabs that share one database. `ci/browser.sh` runs it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { isFirefox, serve, start, tab } from "./browser.mjs";

const call = (page, name, ...args) => page.evaluate(([name, args]) => window[name](...args), [name, args]);
const inChromium = { skip: isFirefox && "tabs of Firefox are not crashed or frozen from here" };
const upTo = (count) => Array.from({ length: count }, (_, number) => number);

let server, url, profile, context;
async function opened() {
  const page = await tab(context, url);
  await call(page, "open");
  return page;
}

before(async () => {
  profile = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
  server = await serve(path.join(import.meta.dirname, "../.."));
  url = `${server.url}tests/web/shared.html`;
  context = await start(profile);
});
after(async () => {
  await context.close();
  await server.close();
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});
beforeEach(async () => {
  const page = await opened();
  await call(page, "clear");
  await page.close();
});

test("a window reads, writes, scans and keeps its rows over a reload", async () => {
  const page = await opened();
  await call(page, "batch", 0, 1200);
  await call(page, "put", 1200);
  await call(page, "remove", 10, 20);
  await call(page, "flush");
  await page.reload();
  await page.waitForFunction(() => window.ready);
  await call(page, "open");
  const all = upTo(1201).filter((number) => number < 10 || number >= 20);
  assert.deepEqual(await call(page, "numbers"), all);
  assert.deepEqual(await call(page, "numbers", { reverse: true }), all.toReversed());
  assert.deepEqual(await call(page, "numbers", { limit: 7 }), all.slice(0, 7));
  assert.deepEqual(await call(page, "numbers", { limit: 700 }), all.slice(0, 700));
  assert.deepEqual(await call(page, "many", [0, 15, 1200]), ["0", undefined, "1200"].map((v) => v ?? undefined));
  assert.equal((await call(page, "stats")).tables > 0, true);
  await page.close();
});

test("tabs share one database, and another leads when the leader closes it or its tab", async () => {
  const pages = [await opened(), await opened(), await opened()];
  for (const [number, page] of pages.entries()) await call(page, "put", number);
  for (const page of pages) assert.deepEqual(await call(page, "numbers"), [0, 1, 2]);
  await call(pages[0], "close");
  assert.deepEqual(await call(pages[1], "put", 3), {});
  assert.deepEqual(await call(pages[2], "numbers"), [0, 1, 2, 3]);
  await pages[1].close();
  assert.deepEqual(await call(pages[2], "numbers"), [0, 1, 2, 3]);
  assert.deepEqual(await call(pages[2], "put", 4), {});
  assert.deepEqual(await call(pages[2], "numbers"), [0, 1, 2, 3, 4]);
  for (const page of [pages[0], pages[2]]) await page.close();
});

test("a leader that crashes is replaced; acknowledged writes are there, lost answers are unknown, nothing is both", inChromium, async () => {
  const other = await opened();
  for (let round = 0; round < 4; round++) {
    await call(other, "close");
    const leader = await opened();
    await call(leader, "put", round);
    await call(other, "open");
    const outcomes = call(other, "writeUntilLost", 1000 * (round + 1));
    await other.waitForFunction((count) => window.outcomes?.length >= count, round * 100);
    const session = await context.newCDPSession(leader);
    session.send("Page.crash").catch(() => {});
    const found = new Set(await outcomes.then(() => call(other, "numbers")));
    for (const [number, name] of await outcomes) {
      assert.ok(name === "done" || name === "Unknown", name);
      assert.ok(name === "Unknown" || found.has(number), `row ${number} was acknowledged`);
    }
    assert.deepEqual(await call(other, "put", 999), {});
    await leader.close();
  }
  await other.close();
});

test("a frozen leader is replaced, and follows when it goes on", inChromium, async () => {
  const [leader, other] = [await opened(), await opened()];
  await call(leader, "put", 0);
  const session = await context.newCDPSession(leader);
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  await call(other, "put", 1);
  assert.deepEqual(await call(other, "numbers"), [0, 1]);
  await session.send("Page.setWebLifecycleState", { state: "active" });
  await call(leader, "put", 2);
  assert.deepEqual(await call(leader, "numbers"), [0, 1, 2]);
  await leader.close();
  assert.deepEqual(await call(other, "numbers"), [0, 1, 2]);
  await other.close();
});

test("a scan whose leader is gone says so, and begins again", async () => {
  const [leader, other] = [await opened(), await opened()];
  await call(other, "batch", 0, 2000);
  await call(other, "beginScan");
  await call(leader, "close");
  assert.equal((await call(other, "endScan")).name, "Interrupted");
  await call(other, "beginScan");
  assert.deepEqual(await call(other, "endScan"), {});
  await leader.close();
  await other.close();
});

test("a shared worker goes through the tab that leads", async () => {
  const page = await opened();
  assert.deepEqual(await call(page, "shared", "put", "row 000007", "7"), { value: undefined });
  assert.deepEqual(await call(page, "shared", "get", "row 000007"), { value: "7" });
  assert.equal(await call(page, "get", 7), "7");
  await page.close();
});

test("files that somebody else holds are an error, never a database in memory", async () => {
  const holder = await tab(context, `${server.url}tests/web/`);
  await call(holder, "call", "open");
  const page = await tab(context, url);
  assert.equal((await call(page, "tryOpen")).name, "Locked");
  await holder.close();
  assert.equal((await call(page, "tryOpen")).name, "none");
  await page.close();
});

test("databases of different names have nothing in common", async () => {
  const pages = [await opened(), await tab(context, url), await tab(context, url)];
  await call(pages[1], "open", { name: "notes" });
  await call(pages[2], "open", { name: "notes" });
  await call(pages[0], "put", 0);
  await call(pages[1], "put", 1);
  await call(pages[2], "put", 2);
  assert.deepEqual(await call(pages[0], "numbers"), [0]);
  assert.deepEqual(await call(pages[1], "numbers"), [1, 2]);
  await call(pages[1], "close");
  assert.deepEqual(await call(pages[2], "numbers"), [1, 2]);
  await call(pages[2], "clear");
  assert.deepEqual(await call(pages[0], "numbers"), [0]);
  const refusal = await pages[1].evaluate(() => window.open({ name: "a/b" }).catch(({ name }) => name));
  assert.equal(refusal, "InvalidOptions");
  for (const page of pages) await page.close();
});

test("buckets have keys of their own, in batches too, until they are dropped", async () => {
  const page = await opened();
  assert.deepEqual(await call(page, "bucket", "one", { a: "1", b: "2" }), { a: "1", b: "2" });
  assert.deepEqual(await call(page, "bucket", "two", { a: "3" }), { a: "3" });
  assert.equal((await call(page, "batchIn", "three")).name, "BucketMissing");
  assert.equal(await call(page, "value", "c"), undefined);
  assert.deepEqual(await call(page, "batchIn", "one"), {});
  assert.deepEqual(await call(page, "bucket", "one"), { a: "1" });
  assert.deepEqual([await call(page, "value", "a"), await call(page, "value", "c")], [undefined, "3"]);
  assert.deepEqual(await call(page, "buckets"), ["one", "two"]);
  await call(page, "dropBucket", "one");
  assert.deepEqual(await call(page, "buckets"), ["two"]);
  assert.deepEqual(await call(page, "bucket", "one"), {});
  await page.close();
});

test("a snapshot sees what was there, whatever is written, until it is closed", async () => {
  const page = await opened();
  await call(page, "batch", 0, 1200);
  await call(page, "bucket", "other", { a: "1" });
  const [then, refusal, now, other] = await call(page, "snapshotOf", [0, 5, 1199]);
  assert.deepEqual(then, [upTo(1200), ["0", "5", "1199"], "1"]);
  assert.equal(refusal, "Interrupted");
  assert.deepEqual([now, other], [["1000", "1005", "2199"], "2"]);
  await page.close();
});

test("transactions of two tabs lose no count, and one that fails changes nothing", async () => {
  const pages = [await opened(), await opened()];
  await call(pages[0], "bucket", "other", { made: "1" });
  const again = await Promise.all(pages.map((page) => call(page, "countUp", 50)));
  assert.ok(again.every((count) => count >= 0));
  assert.equal(await call(pages[0], "value", "counter"), "100");
  assert.equal(Object.keys(await call(pages[1], "bucket", "other")).length, 101);
  assert.equal(await call(pages[0], "failedTransaction"), "given up");
  assert.equal(await call(pages[0], "value", "counter"), "100");
  for (const page of pages) await page.close();
});

test("a transaction that scans begins again when somebody adds a row, and its range deletes are seen", async () => {
  const page = await opened();
  await call(page, "bucket", "letters", Object.fromEntries([..."abcde"].map((letter) => [letter, letter])));
  const [counted, rows] = await call(page, "replaced", "letters");
  assert.deepEqual(counted, [5, 6]);
  assert.deepEqual(rows, { count: "6", e: "e", z: "added" });
  await page.close();
});

test("an archive brings everything back; a damaged one, and one that is cut off, change nothing", async () => {
  const page = await opened();
  await call(page, "batch", 0, 3000);
  const archive = await call(page, "exported");
  await call(page, "remove", 100, 3000);
  assert.deepEqual(await call(page, "imported", archive), {});
  assert.deepEqual(await call(page, "numbers"), upTo(3000));
  await call(page, "remove", 100, 3000);
  const damaged = archive.slice(0, 1000) + (archive[1000] === "0" ? "1" : "0") + archive.slice(1001);
  assert.equal((await call(page, "imported", damaged)).name, "Corruption");
  assert.deepEqual(await call(page, "numbers"), upTo(100));
  assert.equal((await call(page, "imported", archive.slice(0, archive.length / 2))).name, "InvalidFormat");
  assert.deepEqual(await call(page, "numbers"), upTo(100));
  assert.deepEqual(await call(page, "imported", archive), {});
  assert.deepEqual(await call(page, "numbers"), upTo(3000));
  await page.close();
});

test("a tab that ends within an import leaves the database as it was, and nothing beside it", inChromium, async () => {
  const other = await opened();
  await call(other, "close");
  const leader = await opened();
  await call(leader, "batch", 0, 3000);
  await call(leader, "importMuch");
  await leader.waitForFunction(() => window.names(["import"]).then((names) => names.length > 0, () => false));
  const session = await context.newCDPSession(leader);
  session.send("Page.crash").catch(() => {});
  await call(other, "open");
  assert.deepEqual(await call(other, "numbers"), upTo(3000));
  assert.equal((await call(other, "names")).includes("import"), false);
  await leader.close();
  await other.close();
});

test("an import that was complete takes its place, wherever a crash had left it", async () => {
  const page = await opened();
  await call(page, "batch", 0, 3000);
  const files = await call(page, "names");
  assert.equal(files.length, 3);
  for (let moved = 0; moved <= files.length; moved++) {
    await call(page, "close");
    await call(page, "halfImported", moved);
    await call(page, "open");
    assert.deepEqual(await call(page, "numbers"), upTo(3000));
    assert.deepEqual(await call(page, "names"), files);
  }
  await page.close();
});

test("what Linux wrote opens here, and what was written here opens on Linux", { skip: !process.env.TRINE_ARCHIVE }, async () => {
  const native = (...args) => execFileSync(process.env.TRINE_ARCHIVE, args, { encoding: "utf8" });
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
  const at = (name) => path.join(home, name);
  const page = await opened();
  native("fill", at("linux"), "500");
  native("export", at("linux"), at("linux.archive"));
  const hex = fs.readFileSync(at("linux.archive")).toString("hex");
  assert.deepEqual(await call(page, "imported", hex), {});
  const rows = (await call(page, "rows")).map((row) => row.join("\t")).join("\n");
  assert.equal(`${rows}\n`, native("list", at("linux")));
  await call(page, "put", 1);
  fs.writeFileSync(at("browser.archive"), Buffer.from(await call(page, "exported"), "hex"));
  native("import", at("browser.archive"), at("copy"));
  assert.equal(native("list", at("copy")), `${rows}\nrow 000001\t1\n`);
  fs.rmSync(home, { recursive: true });
  await page.close();
});
