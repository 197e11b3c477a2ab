// The same work for Trine KV and for IndexedDB, one after the other in one place: rows each second.
// Rows lie under a prefix of their own, and are removed afterwards.

const PREFIX = new TextEncoder().encode("\0rates\0");
const BATCH = 100;
const SINGLE_MAX = 2000;
const READS_MAX = 5000;

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const ended = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });

async function indexed() {
  await asked(indexedDB.deleteDatabase("rates"));
  const opening = indexedDB.open("rates");
  opening.onupgradeneeded = () => opening.result.createObjectStore("rows");
  const db = await asked(opening);
  const open = (mode) => db.transaction("rows", mode, { durability: "relaxed" });
  return {
    async write(rows) {
      const transaction = open("readwrite");
      const store = transaction.objectStore("rows");
      for (const [key, value] of rows) store.put(value, key);
      await ended(transaction);
    },
    get: (key) => asked(open("readonly").objectStore("rows").get(key)),
    getMany: (keys) => {
      const store = open("readonly").objectStore("rows");
      return Promise.all(keys.map((key) => asked(store.get(key))));
    },
    scan: async () => (await asked(open("readonly").objectStore("rows").getAll())).length,
    async remove() {
      db.close();
      await asked(indexedDB.deleteDatabase("rates"));
    },
  };
}

/** A database of the package, or the class of a dedicated worker. */
function trine(db, Batch) {
  const end = PREFIX.with(-1, 1);
  return {
    async write(rows) {
      const batch = new Batch();
      for (const [key, value] of rows) batch.put(key, value);
      await db.write(batch);
    },
    get: (key) => db.get(key),
    getMany: (keys) => db.getMany(keys),
    async scan() {
      let count = 0;
      if (db.range) {
        const rows = await db.scan(PREFIX);
        for (let some; (some = await rows.next(1000)).length > 0; ) count += some.length;
        rows.free();
      } else {
        for await (const _ of db.scan({ prefix: PREFIX })) count++;
      }
      return count;
    },
    settle: () => db.flush(),
    remove: () => db.deleteRange(PREFIX, end),
  };
}

function shuffled(count) {
  const numbers = Array.from({ length: count }, (_, number) => number);
  let state = 1;
  for (let last = count - 1; last > 0; last--) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const other = state % (last + 1);
    [numbers[last], numbers[other]] = [numbers[other], numbers[last]];
  }
  return numbers;
}

function key(number) {
  const bytes = new Uint8Array(16);
  bytes.set(PREFIX);
  new DataView(bytes.buffer).setUint32(12, number);
  return bytes;
}

async function measure(store, count, tell) {
  const timed = async (name, rows, work) => {
    const start = performance.now();
    await work();
    tell(name, Math.round((rows * 1000) / (performance.now() - start)));
  };
  const order = shuffled(count);
  const row = (number) => [key(number), new Uint8Array(100).fill(number)];
  await timed("batches of 100", count, async () => {
    for (let at = 0; at < count; at += BATCH) await store.write(order.slice(at, at + BATCH).map(row));
  });
  const single = Math.min(count, SINGLE_MAX);
  await timed("single writes", single, async () => {
    for (const number of order.slice(0, single)) await store.write([row(number)]);
  });
  await store.settle?.();
  const reads = shuffled(count).reverse().slice(0, READS_MAX).map(key);
  await timed("random reads, one by one", reads.length, async () => {
    for (const key of reads) if ((await store.get(key)).length !== 100) throw new Error("wrong");
  });
  await timed("random reads, all at once", reads.length, () => store.getMany(reads));
  await timed("scan of all", count, async () => {
    if ((await store.scan()) !== count) throw new Error("wrong");
  });
  await store.remove();
}

/** Measures both; `tell(store, name, rate)` hears of each rate when it is known. */
export async function rates(db, Batch, count, tell = () => {}) {
  const found = { "IndexedDB": {}, "Trine KV": {} };
  for (const [name, store] of [["IndexedDB", await indexed()], ["Trine KV", trine(db, Batch)]]) {
    await measure(store, count, (what, rate) => {
      found[name][what] = rate;
      tell(name, what, rate);
    });
  }
  return found;
}
