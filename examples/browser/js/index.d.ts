/** Bytes; a string stands for its UTF-8. */
export type Bytes = Uint8Array | string;

/**
 * Calls reject with an `Error` whose `name` is one of these, or `Other`.
 *
 * - `Unknown`: whoever led went away before it answered a change, which may have happened or not. Read to find out.
 * - `Interrupted`: the same, for a scan or an export: begin again.
 * - `Locked`: somebody outside of this package holds the files.
 * - `Unsupported`: this context has no private file system, or cannot start a worker and no other tab leads.
 * - `StorageFull`: the origin's quota. Removing data helps.
 * - `Corruption`, `InvalidFormat`, `UnsupportedFormat`, `Closed`, `Io`, `InvalidOptions`: as in the crate.
 */
export type Kind =
  | "Unknown" | "Interrupted" | "Locked" | "Unsupported" | "StorageFull"
  | "Corruption" | "InvalidFormat" | "UnsupportedFormat" | "Closed" | "Io" | "InvalidOptions" | "Other";

/** Changes to commit together: all of them or none. */
export class Batch {
  put(key: Bytes, value: Bytes): this;
  delete(key: Bytes): this;
}

export interface Scan {
  /** Rows whose keys begin so. Without it those from `start` up to, but without, `end`. */
  prefix?: Bytes;
  start?: Bytes;
  end?: Bytes;
  reverse?: boolean;
  limit?: number;
}

export interface Stats {
  tables: number;
  tableBytes: number;
  blobBytes: number;
  memtableBytes: number;
  sequence: number;
  /** All of it, for people. */
  text: string;
}

/** The origin's database. A change is with the browser when its promise resolves: it survives a crash of the tab and of the browser. */
export interface Database {
  get(key: Bytes): Promise<Uint8Array | undefined>;
  getMany(keys: Bytes[]): Promise<(Uint8Array | undefined)[]>;
  put(key: Bytes, value: Bytes): Promise<void>;
  delete(key: Bytes): Promise<void>;
  /** Removes all keys from `start` up to, but without, `end`. */
  deleteRange(start: Bytes, end: Bytes): Promise<void>;
  write(batch: Batch): Promise<void>;
  /** Rows of one moment in key order. */
  scan(scan?: Scan): AsyncIterableIterator<[key: Uint8Array, value: Uint8Array]>;
  /** All of it, as of one moment, as an archive that opens on any other machine too. */
  export(): ReadableStream<Uint8Array>;
  /** Replaces everything by an archive's contents. If the archive is damaged, the database is empty afterwards. */
  import(archive: Blob): Promise<void>;
  /** Removes everything. */
  clear(): Promise<void>;
  flush(): Promise<void>;
  compact(): Promise<void>;
  stats(): Promise<Stats>;
  /** Ends this handle. Another tab's takes over if this one leads. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens the origin's database, wherever this is: a window, a worker, a shared worker. Every tab that did so shares it.
 *
 * @param options.worker where `worker.js` lies, if a bundler moves it
 */
export function open(options?: { worker?: string | URL }): Promise<Database>;
