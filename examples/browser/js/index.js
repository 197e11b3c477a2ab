// Trine KV for web pages: ordered, crash-safe databases, each shared by all windows and workers of its origin.
// Types and documentation: index.d.ts.
import { Client } from "./client.js";

const encoder = new TextEncoder();
const bytes = (value) => (typeof value === "string" ? encoder.encode(value) : value);

/** Changes to commit together. */
export class Batch {
  changes = [];

  put(key, value, bucket) {
    this.changes.push([bytes(key), bytes(value), bucket]);
    return this;
  }

  delete(key, bucket) {
    this.changes.push([bytes(key), undefined, bucket]);
    return this;
  }
}

/** Reads of a bucket, as of now or as a snapshot sees it. */
class Reads {
  #client;
  #place;

  constructor(client, place) {
    this.#client = client;
    this.#place = place;
  }

  get = (key) => this.#client.call("get", this.#place, bytes(key));
  getMany = (keys) => this.#client.call("getMany", this.#place, keys.map(bytes));

  async *scan({ prefix, start, end, reverse, limit = Infinity } = {}) {
    const range = { prefix: bytes(prefix), start: bytes(start), end: bytes(end), reverse };
    let some = await this.#client.call("scan", this.#place, range, limit);
    let left = limit;
    try {
      for (;;) {
        for (const row of some.rows) {
          if (left-- <= 0) return;
          yield row;
        }
        if (some.id === undefined || left <= 0) return;
        some = await this.#client.call("rows", some.id);
      }
    } finally {
      if (some.id !== undefined) this.#client.call("drop", some.id).catch(() => {});
    }
  }
}

class Bucket extends Reads {
  #client;
  #place;

  constructor(client, place) {
    super(client, place);
    this.#client = client;
    this.#place = place;
  }

  put = (key, value) => this.#client.call("put", this.#place, bytes(key), bytes(value));
  delete = (key) => this.#client.call("delete", this.#place, bytes(key));
  deleteRange = (start, end) => this.#client.call("deleteRange", this.#place, bytes(start), bytes(end));
}

class Snapshot extends Reads {
  #client;
  #id;

  constructor(client, id) {
    super(client, { snapshot: id });
    this.#client = client;
    this.#id = id;
  }

  bucket = (name) => new Reads(this.#client, { snapshot: this.#id, bucket: name });
  close = () => this.#client.call("drop", this.#id);

  [Symbol.asyncDispose]() {
    return this.close();
  }
}

class Transaction {
  #client;
  #id;

  constructor(client, id) {
    this.#client = client;
    this.#id = id;
  }

  get = (key, bucket) => this.#client.call("staged", this.#id, "get", bytes(key), bucket);
  put = (key, value, bucket) => this.#client.call("staged", this.#id, "put", bytes(key), bytes(value), bucket);
  delete = (key, bucket) => this.#client.call("staged", this.#id, "delete", bytes(key), bucket);
  deleteRange = (start, end, bucket) =>
    this.#client.call("staged", this.#id, "deleteRange", bytes(start), bytes(end), bucket);
  scan = ({ bucket, ...scan } = {}) => new Reads(this.#client, { transaction: this.#id, bucket }).scan(scan);
}

class Database extends Bucket {
  #client;

  constructor(client) {
    super(client, {});
    this.#client = client;
  }

  bucket = (name) => new Bucket(this.#client, { bucket: name });
  buckets = () => this.#client.call("buckets");
  dropBucket = (name) => this.#client.call("dropBucket", name);
  write = (batch) => this.#client.call("write", batch.changes);
  flush = () => this.#client.call("flush");
  compact = () => this.#client.call("compact");
  stats = () => this.#client.call("stats");
  import = (archive) => this.#client.call("import", archive);
  clear = () => this.#client.call("clear");
  close = () => this.#client.close();
  snapshot = async () => new Snapshot(this.#client, await this.#client.call("snapshot"));

  async transaction(work, { attempts = 10 } = {}) {
    for (;;) {
      const id = await this.#client.call("transaction");
      try {
        const result = await work(new Transaction(this.#client, id));
        await this.#client.call("commit", id);
        return result;
      } catch (error) {
        this.#client.call("drop", id).catch(() => {});
        if (error.name !== "Conflict" || --attempts <= 0) throw error;
      }
    }
  }

  export() {
    const client = this.#client;
    let id;
    return new ReadableStream({
      async pull(controller) {
        id ??= await client.call("export");
        const bytes = await client.call("exported", id);
        if (bytes) controller.enqueue(bytes);
        else controller.close();
      },
      cancel: () => (id === undefined ? undefined : client.call("drop", id)),
    });
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }
}

/** Where a database lies in the origin's private file system. */
function directory(name) {
  if (name === undefined) return "trine-kv";
  if (typeof name === "string" && name !== "" && !name.includes("/")) return `trine-kv.${name}`;
  throw Object.assign(new Error("a database's name is a text without slashes"), { name: "InvalidOptions" });
}

export async function open({ name, worker = new URL("./worker.js", import.meta.url) } = {}) {
  const client = new Client(worker, directory(name));
  try {
    await client.call("hello");
  } catch (error) {
    await client.close();
    throw error;
  }
  return new Database(client);
}
