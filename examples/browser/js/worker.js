// A candidate for leading: waits for its turn, opens the database, and serves every client until it is told to leave.
// Web Locks see to it that there is one at a time; a worker that ends in any way gives lock and files back.
import init, { Batch, Database, Import } from "./trine_kv_web.js";

const NAME = "trine-kv";
const ROWS_AT_ONCE = 500;
/** How long requests that were sent to this worker before it left may arrive. */
const STRAGGLERS_MS = 50;

const common = new BroadcastChannel(NAME);
const channels = new Map();
const cursors = new Map();
const watched = new Set();
let db;
let opened = 0;
let running = 0;
/** Settled when requests may be served. */
let ready = Promise.resolve();
/** Called when the last request is answered, once this worker is leaving. */
let left;

function channel(client) {
  if (!channels.has(client)) channels.set(client, new BroadcastChannel(`${NAME}/${client}`));
  return channels.get(client);
}

/** What a client that is gone had open is dropped. It holds a lock of its own as long as it is there. */
function watch(client) {
  if (watched.has(client)) return;
  watched.add(client);
  navigator.locks.request(`${NAME}/${client}`, () => {
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

/** Removes all files and opens what `make` makes of nothing; an empty database if that fails. */
function replace(make) {
  const replaced = (async () => {
    for (const id of [...cursors.keys()]) drop(id);
    await db.close();
    const clear = async () => (await navigator.storage.getDirectory()).removeEntry(NAME, { recursive: true });
    await clear();
    try {
      db = await make();
    } catch (error) {
      await clear().catch(() => {});
      db = await Database.open();
      throw error;
    }
  })();
  ready = replaced.catch(() => {});
  return replaced;
}

const commands = {
  hello: () => {},
  get: (_, key) => db.get(key),
  getMany: (_, keys) => db.getMany(keys),
  put: (_, key, value) => db.put(key, value),
  delete: (_, key) => db.delete(key),
  deleteRange: (_, start, end) => db.deleteRange(start, end),
  write: (_, changes) => {
    const batch = new Batch();
    for (const [key, value] of changes) {
      if (value === undefined) batch.delete(key);
      else batch.put(key, value);
    }
    return db.write(batch);
  },
  /** The first rows of a scan, and the number of what has the others. */
  scan: async (client, { prefix, start, end, reverse }, limit) => {
    const source = prefix ? await db.scan(prefix, reverse) : await db.range(start, end, reverse);
    const rows = await source.next(Math.min(limit, ROWS_AT_ONCE));
    if (rows.length === ROWS_AT_ONCE && limit > ROWS_AT_ONCE) return { rows, id: keep(client, source) };
    source.free();
    return { rows };
  },
  rows: async (_, id) => {
    const rows = await cursor(id).next(ROWS_AT_ONCE);
    if (rows.length === ROWS_AT_ONCE) return { rows, id };
    drop(id);
    return { rows };
  },
  export: async (client) => keep(client, await db.export()),
  exported: async (_, id) => {
    const bytes = await cursor(id).next();
    if (!bytes) drop(id);
    return bytes;
  },
  drop: (_, id) => drop(id),
  import: (_, archive) =>
    replace(async () => {
      const made = await Import.begin();
      try {
        const reader = archive.stream().getReader();
        for (let read; !(read = await reader.read()).done; ) await made.write(read.value);
      } catch (error) {
        // It holds the files.
        made.free();
        throw error;
      }
      return made.finish();
    }),
  clear: () => replace(() => Database.open()),
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
  db = await Database.open();
  const requests = new BroadcastChannel(`${NAME}/${me}`);
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
  await db.close();
  await new Promise((done) => setTimeout(done, STRAGGLERS_MS));
}

onmessage = async ({ data: { begin, leave } }) => {
  if (leave) return void postMessage({ left: true });
  try {
    await navigator.locks.request(NAME, () => lead(begin));
    postMessage({ left: true });
  } catch (error) {
    postMessage({ failed: { name: error.name, message: String(error.message) } });
  }
};
