// The worker of a tab: one database, numbered rows whose values follow from their keys, and the rates beside IndexedDB.
import init, { Batch, Database } from "../../pkg/trine_kv_web.js";
import { rates } from "../../page/rates.js";

const loaded = init();
let db;

function key(number) {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

function value(number) {
  return new Uint8Array(1000 + (number % 7) * 500).fill(number % 251);
}

const same = (a, b) => a.length === b.length && a.every((byte, at) => byte === b[at]);

async function write(from, to) {
  const batch = new Batch();
  for (let number = from; number < to; number++) batch.put(key(number), value(number));
  await db.write(batch);
}

/** How many rows there are, which must be those from 0 on, with the values they were given. */
async function count() {
  const rows = await db.scan();
  let number = 0;
  for (;;) {
    const some = await rows.next(100);
    if (some.length === 0) break;
    for (const [k, v] of some) {
      if (!same(k, key(number)) || !same(v, value(number))) throw new Error(`row ${number} is wrong`);
      number++;
    }
  }
  rows.free();
  return number;
}

const commands = {
  open: async () => void (db = await Database.open()),
  close: () => db.close(),
  write,
  count,
  flush: () => db.flush(),
  /** Writes ten rows at a time for ever, with flushes and compactions, and tells of each batch that is committed. */
  writeForEver: async () => {
    for (let from = await count(); ; from += 10) {
      await write(from, from + 10);
      postMessage({ progress: from + 10 });
      if (from % 300 === 0) await db.flush();
      if (from % 900 === 0) await db.compact();
    }
  },
  /** Writes until that fails; how many rows were committed and the error's name. */
  fill: async () => {
    let from = await count();
    try {
      for (; from < 100_000; from += 10) await write(from, from + 10);
      return { committed: from, name: "none" };
    } catch (error) {
      return { committed: from, name: error.name };
    }
  },
  rates: async (rows) => {
    db = await Database.open();
    const found = await rates(db, Batch, rows);
    await db.close();
    return found;
  },
};

onmessage = async ({ data: { id, command, args } }) => {
  try {
    await loaded;
    postMessage({ id, value: await commands[command](...args) });
  } catch (error) {
    postMessage({ id, error: { name: error.name, message: String(error.message) } });
  }
};
