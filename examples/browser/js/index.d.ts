/** Bytes; a string stands for its UTF-8. */
export type Bytes = Uint8Array | string;

/**
 * Calls reject with an `Error` whose `name` is one of these, or `Other`.
 *
 * - `Unknown`: whoever led went away before it answered a change, which may have happened or not. Read to find out.
 * - `Interrupted`: the same, for a scan, a snapshot, a transaction or an export: begin again.
 * - `Conflict`: somebody changed what a transaction had read, in all its attempts.
 * - `BucketMissing`: a batch or a snapshot names a bucket that is not there.
 * - `Locked`: somebody outside of this package holds the files.
 * - `Unsupported`: this context has no private file system, or cannot start a worker and no other tab leads.
 * - `StorageFull`: the origin's quota. Removing data helps.
 * - `Corruption`, `InvalidFormat`, `UnsupportedFormat`, `Closed`, `Io`, `InvalidOptions`: as in the crate.
 */
export type Kind =
  | "Unknown" | "Interrupted" | "Conflict" | "BucketMissing" | "Locked" | "Unsupported" | "StorageFull"
  | "Corruption" | "InvalidFormat" | "UnsupportedFormat" | "Closed" | "Io" | "InvalidOptions" | "Other";

/** Changes to commit together: all of them or none. */
export class Batch {
  /** In a bucket that is there; in the default one without a name. */
  put(key: Bytes, value: Bytes, bucket?: string): this;
  delete(key: Bytes, bucket?: string): this;
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

export interface Reads {
  get(key: Bytes): Promise<Uint8Array | undefined>;
  getMany(keys: Bytes[]): Promise<(Uint8Array | undefined)[]>;
  /** Rows of one moment in key order. */
  scan(scan?: Scan): AsyncIterableIterator<[key: Uint8Array, value: Uint8Array]>;
}

/** A key space of its own, made when it is first used. A change is with the browser when its promise resolves: it survives a crash of the tab and of the browser. */
export interface Bucket extends Reads {
  put(key: Bytes, value: Bytes): Promise<void>;
  delete(key: Bytes): Promise<void>;
  /** Removes all keys from `start` up to, but without, `end`. */
  deleteRange(start: Bytes, end: Bytes): Promise<void>;
}

/** Everything as it was at one moment: the default bucket, and others by name. What it sees is kept until it is closed. */
export interface Snapshot extends Reads {
  bucket(name: string): Reads;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Reads are of the moment when it began, and its own changes. Without a bucket's name it is about the default one. */
export interface Transaction {
  get(key: Bytes, bucket?: string): Promise<Uint8Array | undefined>;
  put(key: Bytes, value: Bytes, bucket?: string): Promise<void>;
  delete(key: Bytes, bucket?: string): Promise<void>;
  /** Removes all keys from `start` up to, but without, `end`. */
  deleteRange(start: Bytes, end: Bytes, bucket?: string): Promise<void>;
  /**
   * Rows that were committed when it began, in key order: its own changes are not among them. All of the range counts as read, however few of
   * its rows are taken: who changes it, or adds a row, makes the commit begin again.
   */
  scan(scan?: Scan & { bucket?: string }): AsyncIterableIterator<[key: Uint8Array, value: Uint8Array]>;
}

/** A database, and its default bucket. */
export interface Database extends Bucket {
  bucket(name: string): Bucket;
  /** The names of all buckets but the default one. */
  buckets(): Promise<string[]>;
  /** Removes a bucket and all that is in it. */
  dropBucket(name: string): Promise<void>;
  snapshot(): Promise<Snapshot>;
  /**
   * Has `work` read and change, and commits that if nobody changed meanwhile what it read; else does all of it again. Commits nothing if
   * `work` throws.
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T>, options?: { attempts?: number }): Promise<T>;
  write(batch: Batch): Promise<void>;
  /** All of it, as of one moment, as an archive that opens on any other machine too. */
  export(): ReadableStream<Uint8Array>;
  /**
   * Replaces everything by an archive's contents, once all of it was read: until then the database serves on, and if the archive is damaged, or
   * the tab ends, it stays as it is. Takes the space of both. What is written meanwhile is replaced, too.
   */
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
 * Opens a database of the origin, wherever this is: a window, a worker, a shared worker. Every tab that did so shares it.
 *
 * @param options.name which; without a name, the one that the crate opens by default. Without slashes
 * @param options.worker where `worker.js` lies, if a bundler moves it
 */
export function open(options?: { name?: string; worker?: string | URL }): Promise<Database>;
