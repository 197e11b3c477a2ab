// Trine KV for web pages: one ordered, crash-safe database for each origin, shared by all its windows and workers.
// Types and documentation: index.d.ts.
import { Client } from "./client.js";

const encoder = new TextEncoder();
const bytes = (value) => (typeof value === "string" ? encoder.encode(value) : value);

/** Changes to commit together. */
export class Batch {
  changes = [];

  put(key, value) {
    this.changes.push([bytes(key), bytes(value)]);
    return this;
  }

  delete(key) {
    this.changes.push([bytes(key), undefined]);
    return this;
  }
}

class Database {
  #client;

  constructor(client) {
    this.#client = client;
  }

  get = (key) => this.#client.call("get", bytes(key));
  getMany = (keys) => this.#client.call("getMany", keys.map(bytes));
  put = (key, value) => this.#client.call("put", bytes(key), bytes(value));
  delete = (key) => this.#client.call("delete", bytes(key));
  deleteRange = (start, end) => this.#client.call("deleteRange", bytes(start), bytes(end));
  write = (batch) => this.#client.call("write", batch.changes);
  flush = () => this.#client.call("flush");
  compact = () => this.#client.call("compact");
  stats = () => this.#client.call("stats");
  import = (archive) => this.#client.call("import", archive);
  clear = () => this.#client.call("clear");
  close = () => this.#client.close();

  async *scan({ prefix, start, end, reverse, limit = Infinity } = {}) {
    const range = { prefix: bytes(prefix), start: bytes(start), end: bytes(end), reverse };
    let some = await this.#client.call("scan", range, limit);
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

export async function open({ worker = new URL("./worker.js", import.meta.url) } = {}) {
  const client = new Client(worker);
  try {
    await client.call("hello");
  } catch (error) {
    await client.close();
    throw error;
  }
  return new Database(client);
}
