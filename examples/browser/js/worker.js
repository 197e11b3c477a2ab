// A candidate for leading: waits for its turn, opens the database, and serves every client until it is told to leave.
// Web Locks see to it that there is one at a time; a worker that ends in any way gives lock and files back.
import init, { Batch, Database, Import } from "./trine_kv_web.js";

/** In a database's directory: where an archive becomes a database, and the file in there that says it is one. */
const IMPORT = "import";
const COMPLETE = "complete";
const ROWS_AT_ONCE = 500;
/** How long requests that were sent to this worker before it left may arrive. */
const STRAGGLERS_MS = 50;

/** The database's directory, which names its locks and channels, too. */
let directory;
let common;
const channels = new Map();
const cursors = new Map();
const watched = new Set();
/** By name; kept as long as the database is open. */
const buckets = new Map();
let db;
let opened = 0;
let running = 0;
/** Settled when requests may be served. */
let ready = Promise.resolve();
/** Called when the last request is answered, once this worker is leaving. */
let left;

function channel(client) {
  if (!channels.has(client)) channels.set(client, new BroadcastChannel(`${directory}/${client}`));
  return channels.get(client);
}

/** What a client that is gone had open is dropped. It holds a lock of its own as long as it is there. */
function watch(client) {
  if (watched.has(client)) return;
  watched.add(client);
  navigator.locks.request(`${directory}/${client}`, () => {
    for (const [id, cursor] of cursors) if (cursor.client === client) drop(id);
    channels.get(client)?.close();
    channels.delete(client);
    watched.delete(client);
  });
}

function drop(id) {
  cursors.get(id)?.source.free();
  cursors.delete(id);
}

function keep(client, source) {
  watch(client);
  cursors.set(++opened, { client, source });
  return opened;
}

function cursor(id) {
  if (!cursors.has(id)) throw Object.assign(new Error("the database was replaced meanwhile"), { name: "Interrupted" });
  return cursors.get(id).source;
}

const root = () => navigator.storage.getDirectory();
const absent = (error) => {
  if (error.name !== "NotFoundError") throw error;
};

/** Where an archive becomes a database; empty. */
async function emptied() {
  const home = await (await root()).getDirectoryHandle(directory);
  await home.removeEntry(IMPORT, { recursive: true }).catch(absent);
  return home.getDirectoryHandle(IMPORT, { create: true });
}

/**
 * Puts a complete import into the place of the database, which is closed. Whatever ends it half-way, the next leader goes on:
 * each file is moved once, and what says that the import is complete goes last. An import that is not complete is removed.
 */
async function settle() {
  const home = await (await root()).getDirectoryHandle(directory).catch(absent);
  const made = await home?.getDirectoryHandle(IMPORT).catch(absent);
  if (!made) return;
  const isComplete = await made.getFileHandle(COMPLETE).then(() => true, absent);
  if (isComplete) {
    const files = [];
    for await (const file of made.values()) if (file.name !== COMPLETE) files.push(file);
    for (const file of files) {
      await home.removeEntry(file.name).catch(absent);
      await file.move(home, file.name);
    }
  }
  await home.removeEntry(IMPORT, { recursive: true });
}

/** Closes the database, has `change` change its files while requests wait, and opens what is there then. */
function replace(change) {
  const replaced = (async () => {
    for (const id of [...cursors.keys()]) drop(id);
    forgetBuckets();
    db.close();
    try {
      await change();
    } finally {
      await settle();
      db = await Database.open(directory);
    }
  })();
  ready = replaced.catch(() => {});
  return replaced;
}

function forgetBuckets() {
  for (const bucket of buckets.values()) bucket.free();
  buckets.clear();
}

/** What has the reads of a request: the database, one of its buckets, either as a snapshot sees it, or a transaction. */
function place({ bucket, snapshot, transaction }) {
  if (transaction !== undefined) return cursor(transaction);
  if (snapshot !== undefined) return cursor(snapshot).bucket(bucket);
  if (bucket === undefined) return db;
  if (!buckets.has(bucket)) buckets.set(bucket, db.bucket(bucket));
  return buckets.get(bucket);
}

const commands = {
  hello: () => {},
  get: (_, at, key) => place(at).get(key),
  getMany: (_, at, keys) => place(at).getMany(keys),
  put: (_, at, key, value) => place(at).put(key, value),
  delete: (_, at, key) => place(at).delete(key),
  deleteRange: (_, at, start, end) => place(at).deleteRange(start, end),
  buckets: () => db.buckets(),
  dropBucket: (_, name) => {
    buckets.get(name)?.free();
    buckets.delete(name);
    db.dropBucket(name);
  },
  write: (_, changes) => {
    const batch = new Batch();
    for (const [key, value, bucket] of changes) {
      if (value === undefined) batch.delete(key, bucket);
      else batch.put(key, value, bucket);
    }
    db.write(batch);
  },
  snapshot: (client) => keep(client, db.snapshot()),
  transaction: (client) => keep(client, db.transaction()),
  staged: (_, id, command, ...args) => cursor(id)[command](...args),
  commit: (_, id) => {
    const transaction = cursor(id);
    cursors.delete(id);
    transaction.commit();
  },
  /** The first rows of a scan, and the number of what has the others. */
  scan: (client, at, { prefix, start, end, reverse }, limit) => {
    // Transactions are told the bucket.
    const source = prefix ? place(at).scan(prefix, reverse, at.bucket) : place(at).range(start, end, reverse, at.bucket);
    const rows = source.next(Math.min(limit, ROWS_AT_ONCE));
    if (rows.length === ROWS_AT_ONCE && limit > ROWS_AT_ONCE) return { rows, id: keep(client, source) };
    source.free();
    return { rows };
  },
  rows: (_, id) => {
    const rows = cursor(id).next(ROWS_AT_ONCE);
    if (rows.length === ROWS_AT_ONCE) return { rows, id };
    drop(id);
    return { rows };
  },
  export: (client) => keep(client, db.export()),
  exported: (_, id) => {
    const bytes = cursor(id).next();
    if (!bytes) drop(id);
    return bytes;
  },
  drop: (_, id) => drop(id),
  /** Beside the database, which serves on until all of the archive was read. */
  import: async (_, archive) => {
    const beside = await emptied();
    const made = await Import.begin(`${directory}/${IMPORT}`);
    try {
      const reader = archive.stream().getReader();
      for (let read; !(read = await reader.read()).done; ) made.write(read.value);
    } catch (error) {
      // It holds its files.
      made.free();
      await settle();
      throw error;
    }
    made.finish().close();
    await replace(() => beside.getFileHandle(COMPLETE, { create: true }));
  },
  clear: () => replace(async () => (await root()).removeEntry(directory, { recursive: true })),
  flush: () => db.flush(),
  compact: () => db.compact(),
  stats: () => ({ ...db.counts(), text: db.stats() }),
};

async function serve({ client, id, command, args }, reply) {
  if (left) return reply({ id, again: true });
  running++;
  try {
    await ready;
    reply({ id, value: await commands[command](client, ...args) });
  } catch (error) {
    reply({ id, error: { name: error.name, message: String(error.message) } });
  }
  running--;
  if (running === 0) left?.();
}

async function lead(me) {
  await init();
  await settle();
  db = await Database.open(directory);
  const requests = new BroadcastChannel(`${directory}/${me}`);
  requests.onmessage = ({ data }) => serve(data, (answer) => channel(data.client).postMessage(answer));
  const announce = () => common.postMessage({ leader: me });
  common.onmessage = ({ data }) => data.who && announce();
  announce();
  postMessage({ leader: me });
  await new Promise((done) => {
    const leave = () => {
      common.postMessage({ gone: me });
      left = done;
      if (running === 0) done();
    };
    onmessage = ({ data }) => (data.leave ? leave() : serve(data, (answer) => postMessage(answer)));
  });
  common.onmessage = null;
  db.close();
  await new Promise((done) => setTimeout(done, STRAGGLERS_MS));
}

onmessage = async ({ data: { begin, directory: named, leave } }) => {
  if (leave) return void postMessage({ left: true });
  directory = named;
  common = new BroadcastChannel(directory);
  try {
    await navigator.locks.request(directory, () => lead(begin));
    postMessage({ left: true });
  } catch (error) {
    postMessage({ failed: { name: error.name, message: String(error.message) } });
  }
};
