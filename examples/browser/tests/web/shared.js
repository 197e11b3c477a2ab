// A tab of the tests of the package: what they call is on `window`. Rows are numbered, their values follow from their keys.
import { Batch, open } from "../../pkg/index.js";
import { rates } from "../../page/rates.js";

const key = (number) => `row ${String(number).padStart(6, "0")}`;
const text = (bytes) => bytes && new TextDecoder().decode(bytes);
const refused = ({ name, message }) => ({ name, message });
let db;

Object.assign(window, {
  open: async () => void (db = await open()),
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
