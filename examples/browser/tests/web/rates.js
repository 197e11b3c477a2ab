// The same work for this crate and for IndexedDB, one after the other in one worker: rows each second.

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
    close: () => db.close(),
  };
}

async function trine(Database, Batch) {
  const db = await Database.open();
  await db.deleteRange(new Uint8Array(), new Uint8Array(64).fill(255));
  return {
    async write(rows) {
      const batch = new Batch();
      for (const [key, value] of rows) batch.put(key, value);
      await db.write(batch);
    },
    get: (key) => db.get(key),
    getMany: (keys) => Promise.all(keys.map((key) => db.get(key))),
    async scan() {
      const rows = await db.scan();
      let count = 0;
      for (let some; (some = await rows.next(1000)).length > 0; ) count += some.length;
      rows.free();
      return count;
    },
    settle: () => db.flush(),
    close: () => db.close(),
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
  new DataView(bytes.buffer).setUint32(12, number);
  return bytes;
}

async function measure(store, count) {
  const rates = {};
  const timed = async (name, rows, work) => {
    const start = performance.now();
    await work();
    rates[name] = Math.round((rows * 1000) / (performance.now() - start));
  };
  const order = shuffled(count);
  const row = (number) => [key(number), new Uint8Array(100).fill(number)];
  await timed("batches of 100", count, async () => {
    for (let at = 0; at < count; at += 100) await store.write(order.slice(at, at + 100).map(row));
  });
  const single = Math.min(count, 2000);
  await timed("single writes", single, async () => {
    for (const number of order.slice(0, single)) await store.write([row(number)]);
  });
  await store.settle?.();
  const reads = shuffled(count).reverse().slice(0, 5000).map(key);
  await timed("random reads, one by one", reads.length, async () => {
    for (const key of reads) if ((await store.get(key)).length !== 100) throw new Error("wrong");
  });
  await timed("random reads, all at once", reads.length, () => store.getMany(reads));
  await timed("scan of all", count, async () => {
    if ((await store.scan()) !== count) throw new Error("wrong");
  });
  store.close();
  return rates;
}

export async function rates(Database, Batch, count) {
  return {
    "IndexedDB": await measure(await indexed(), count),
    "Trine KV": await measure(await trine(Database, Batch), count),
  };
}
