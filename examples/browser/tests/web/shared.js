// A tab of the tests of the package: what they call is on `window`. Rows are numbered, their values follow from their keys.
import { Batch, open } from "../../pkg/index.js";
import { rates } from "../../page/rates.js";

const key = (number) => `row ${String(number).padStart(6, "0")}`;
const text = (bytes) => bytes && new TextDecoder().decode(bytes);
const refused = ({ name, message }) => ({ name, message });
let db;

Object.assign(window, {
  open: async (options) => void (db = await open(options)),
  tryOpen: () => open().then((opened) => opened.close().then(() => ({ name: "none" })), refused),
  close: () => db.close(),
  put: (number, value = number) => db.put(key(number), String(value)).then(() => ({}), refused),
  get: async (number) => text(await db.get(key(number))),
  numbers: async (scan) => {
    const found = [];
    for await (const [key, value] of db.scan({ prefix: "row ", ...scan })) {
      if (Number(text(key).slice(4)) !== Number(text(value))) throw new Error(`wrong: ${text(key)}`);
      found.push(Number(text(value)));
    }
    return found;
  },
  /** Writes until an answer is lost, several at a time; what became of each. */
  writeUntilLost: async (from) => {
    window.outcomes = [];
    for (let lost = false; !lost; from += 20) {
      const some = Array.from({ length: 20 }, (_, number) => from + number);
      const names = await Promise.all(some.map(async (number) => (await window.put(number)).name ?? "done"));
      window.outcomes.push(...some.map((number, at) => [number, names[at]]));
      lost = names.some((name) => name !== "done");
    }
    return window.outcomes;
  },
  batch: (from, count) => {
    const batch = new Batch();
    for (let number = from; number < from + count; number++) batch.put(key(number), String(number));
    return db.write(batch);
  },
  remove: (from, to) => db.deleteRange(key(from), key(to)),
  many: async (numbers) => (await db.getMany(numbers.map(key))).map(text),
  stats: () => db.stats(),
  clear: () => db.clear(),
  flush: () => db.flush(),
  /** The archive, in hexadecimal. */
  exported: async () => {
    const bytes = new Uint8Array(await new Response(db.export()).arrayBuffer());
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  },
  imported: (hex) => {
    const bytes = Uint8Array.from(hex.match(/../g) ?? [], (digits) => parseInt(digits, 16));
    return db.import(new Blob([bytes])).then(() => ({}), refused);
  },
  /** Rows of any kind, as text. */
  rows: async () => {
    const found = [];
    for await (const row of db.scan()) found.push(row.map(text));
    return found;
  },
  /** Keys and values of a bucket, as text; made of `rows` first. */
  bucket: async (name, rows = {}) => {
    const bucket = db.bucket(name);
    for (const [key, value] of Object.entries(rows)) await bucket.put(key, value);
    const found = {};
    for await (const row of bucket.scan()) found[text(row[0])] = text(row[1]);
    return found;
  },
  buckets: () => db.buckets(),
  dropBucket: (name) => db.dropBucket(name),
  /** What a snapshot sees of rows that are changed once it is there: itself, then the database. */
  snapshotOf: async (numbers) => {
    const snapshot = await db.snapshot();
    for (const number of numbers) await window.put(number, number + 1000);
    await db.bucket("other").put("a", "2");
    await db.flush();
    const scanned = [];
    for await (const row of snapshot.scan({ prefix: "row " })) scanned.push(Number(text(row[1])));
    const then = [scanned, (await snapshot.getMany(numbers.map(key))).map(text), text(await snapshot.bucket("other").get("a"))];
    await snapshot.close();
    const refusal = await snapshot.get(key(0)).then(() => ({ name: "none" }), refused);
    return [then, refusal.name, (await db.getMany(numbers.map(key))).map(text), text(await db.bucket("other").get("a"))];
  },
  /** Counts up `times` times, each in a transaction; how often it had to begin again. */
  countUp: async (times) => {
    let begun = 0;
    for (let time = 0; time < times; time++) {
      await db.transaction(
        async (transaction) => {
          begun++;
          const before = Number(text(await transaction.get("counter")) ?? 0);
          await transaction.put("counter", String(before + 1));
          if (Number(text(await transaction.get("counter"))) !== before + 1) throw new Error("own changes are seen");
          await transaction.put(String(before + 1), "counted", "other");
        },
        { attempts: 1000 },
      );
    }
    return begun - times;
  },
  /**
   * Counts the rows of a bucket in a transaction, to which somebody adds one while it first counts; then replaces all but the last two by
   * their number. What each attempt counted, and what is there then.
   */
  replaced: async (name) => {
    const counted = [];
    await db.transaction(async (transaction) => {
      const found = [];
      for await (const [key] of transaction.scan({ bucket: name })) found.push(text(key));
      counted.push(found.length);
      if (counted.length === 1) await db.bucket(name).put("z", "added");
      const last = [];
      for await (const [key] of transaction.scan({ bucket: name, reverse: true, limit: 2 })) last.push(text(key));
      await transaction.deleteRange("", last[1], name);
      await transaction.put("count", String(found.length), name);
      if (await transaction.get("a", name)) throw new Error("own changes are seen");
    });
    return [counted, await window.bucket(name)];
  },
  failedTransaction: () =>
    db
      .transaction(async (transaction) => {
        await transaction.put("counter", "-1");
        throw new Error("given up");
      })
      .catch(({ message }) => message),
  value: async (key) => text(await db.get(key)),
  batchIn: (bucket) => db.write(new Batch().put("a", "1", bucket).delete("b", bucket).put("c", "3")).then(() => ({}), refused),
  /** Begins to import what takes a while. */
  importMuch: async () => {
    const much = db.bucket("much");
    for (let number = 0; number < 48; number++) {
      await much.put(key(number), Uint8Array.from({ length: 1 << 20 }, (_, at) => (at * at * 31 + number) >> 3));
    }
    const archive = await new Response(db.export()).blob();
    db.import(archive).catch(() => {});
  },
  /** Without the package: names in the database's directory, and moving on an import as far as a crash might have left it. */
  names: async (path = []) => {
    let directory = await navigator.storage.getDirectory();
    for (const part of ["trine-kv", ...path]) directory = await directory.getDirectoryHandle(part);
    const found = [];
    for await (const name of directory.keys()) found.push(name);
    return found.sort();
  },
  /** Moves the database of the origin aside, as a complete import of an empty one; of its files, `count` are in their place already. */
  halfImported: async (count) => {
    const root = await navigator.storage.getDirectory();
    const home = await root.getDirectoryHandle("trine-kv");
    const made = await home.getDirectoryHandle("import", { create: true });
    await made.getFileHandle("complete", { create: true });
    const files = [];
    for await (const file of home.values()) if (file.kind === "file") files.push(file);
    for (const file of files.sort((a, b) => (a.name < b.name ? -1 : 1)).slice(count)) await file.move(made, file.name);
  },
  beginScan: async () => {
    window.scanning = db.scan({ prefix: "row " });
    await window.scanning.next();
  },
  endScan: async () => {
    try {
      for await (const _ of window.scanning);
      return {};
    } catch (error) {
      return refused(error);
    }
  },
  shared: (command, ...args) =>
    new Promise((resolve) => {
      window.sharedWorker ??= new SharedWorker("shared-worker.js", { type: "module" });
      window.sharedWorker.port.onmessage = ({ data }) => resolve(data);
      window.sharedWorker.port.postMessage([command, ...args]);
    }),
  measure: async (rows) => {
    await window.open();
    const found = await rates(db, Batch, rows);
    await db.close();
    return found;
  },
});
window.ready = true;
