// Browser storage where one worker of one page cannot go: reloads, restarts, several tabs, crashes, a full quota.
// `ci/browser.sh` runs it.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { processes, serve, start, tab } from "./browser.mjs";

const call = (page, command, ...args) =>
  page.evaluate(
    ([c, a]) => window.call(c, ...a).then((value) => ({ value }), ({ name, message }) => ({ name, message })),
    [command, args],
  );

async function done(page, command, ...args) {
  const { value, name, message } = await call(page, command, ...args);
  assert.equal(name, undefined, `${command}: ${name}: ${message}`);
  return value;
}

/** Has a tab write for ever; how many rows it had committed when it was seen to have written `more`. */
async function writing(page, more) {
  const before = await done(page, "count");
  call(page, "writeForEver").catch(() => {});
  await page.waitForFunction((rows) => window.committed >= rows, before + more);
  return page.evaluate(() => window.committed);
}

let server, url, profile, context;
before(async () => {
  profile = fs.mkdtempSync(path.join(os.tmpdir(), "trine-"));
  server = await serve(path.join(import.meta.dirname, "../.."));
  url = `${server.url}tests/web/`;
  context = await start(profile);
});
after(async () => {
  await context.close();
  await server.close();
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

test("rows outlive reloads, with the database left open, and a restart of the browser", async () => {
  const page = await tab(context, url);
  for (let round = 0; round < 5; round++) {
    await done(page, "open");
    assert.equal(await done(page, "count"), round * 100);
    await done(page, "write", round * 100, round * 100 + 100);
    if (round === 2) await done(page, "flush");
    await page.reload();
    await page.waitForFunction(() => window.ready);
  }
  await context.close();
  context = await start(profile);
  const next = await tab(context, url);
  await done(next, "open");
  assert.equal(await done(next, "count"), 500);
  await next.close();
});

test("a second tab is refused by name, and has its turn when the first closes the database", async () => {
  const [first, second] = [await tab(context, url), await tab(context, url)];
  await done(first, "open");
  assert.equal((await call(second, "open")).name, "Locked");
  const before = await done(first, "count");
  await done(first, "write", before, before + 10);
  await done(first, "close");
  assert.equal((await call(first, "count")).name, "Closed");
  await done(second, "open");
  assert.equal(await done(second, "count"), before + 10);
  await first.close();
  await second.close();
});

test("a tab killed in the middle of writes, flushes and compactions loses nothing that was committed", async () => {
  for (const rows of [70, 600, 2000, 5000]) {
    const page = await tab(context, url);
    await done(page, "open");
    const committed = await writing(page, rows);
    const crashed = page.waitForEvent("crash");
    for (const id of (await processes(context)).renderers) process.kill(id, "SIGKILL");
    await crashed;
    await page.close();
    const next = await tab(context, url);
    await done(next, "open");
    const found = await done(next, "count");
    assert.ok(found >= committed && found % 10 === 0, `${found} rows of ${committed}`);
    await next.close();
  }
});

test("the whole browser killed in the middle of writes loses nothing that was committed", async () => {
  const page = await tab(context, url);
  await done(page, "open");
  const committed = await writing(page, 300);
  const closed = new Promise((resolve) => context.on("close", resolve));
  process.kill((await processes(context)).browser, "SIGKILL");
  await closed;
  context = await start(profile);
  const next = await tab(context, url);
  await done(next, "open");
  assert.ok((await done(next, "count")) >= committed);
  await next.close();
});

test("a full quota has its own error, loses nothing, and writes go on when there is room", async () => {
  const page = await tab(context, url);
  await done(page, "open");
  const session = await context.newCDPSession(page);
  const origin = new URL(url).origin;
  const { usage } = await session.send("Storage.getUsageAndQuota", { origin });
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 3e6 });
  const { committed, name } = await done(page, "fill");
  assert.equal(name, "StorageFull");
  await session.send("Storage.overrideQuotaForOrigin", { origin });
  await done(page, "close");
  await done(page, "open");
  const found = await done(page, "count");
  assert.ok(found >= committed, `${found} rows of ${committed}`);
  await done(page, "write", found, found + 10);
  assert.equal(await done(page, "count"), found + 10);
  await page.close();
});
