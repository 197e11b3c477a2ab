// One end of the connection to whoever leads: any window, worker or shared worker. A client that can start a dedicated worker
// has a candidate of its own, so the database is served as long as one such client is there.
//
// - A request goes to one leader. When another takes over, what only reads is asked again; a change whose answer is
//   missing is `Unknown`, never repeated: it may have happened.
// - A page that is frozen ends its worker at once, so that it never keeps the database from others, and starts anew when it goes on.

/** How long a client without a worker waits for a leader. */
const PATIENCE_MS = 5000;
const CHANGES = new Set(["put", "delete", "deleteRange", "dropBucket", "write", "commit", "import", "clear"]);
/** What belongs to a scan, a snapshot, a transaction or an export of one leader. */
const BOUND = new Set(["rows", "exported", "staged", "drop"]);
/** Whether a request is about something that only its leader has. */
const isBound = ({ command, args }) => BOUND.has(command) || (args[0]?.snapshot ?? args[0]?.transaction) !== undefined;

const failure = ({ name, message }) => Object.assign(new Error(message), { name });

export class Client {
  id = crypto.randomUUID();
  #url;
  /** The database's directory, which names its locks and channels, too. */
  #directory;
  #common;
  #own;
  #candidate;
  #leader;
  #link;
  #requests = new Map();
  #count = 0;
  #gone = () => {};
  #closed = false;
  #listeners = new AbortController();

  constructor(url, directory) {
    this.#url = url;
    this.#directory = directory;
    this.#common = new BroadcastChannel(directory);
    this.#own = new BroadcastChannel(`${directory}/${this.id}`);
    this.#common.onmessage = ({ data }) => {
      if (data.leader) this.#follow(data.leader);
      else if (data.gone) this.#forget(data.gone);
    };
    this.#own.onmessage = ({ data }) => this.#answered(data);
    navigator.locks.request(`${directory}/${this.id}`, () => new Promise((gone) => (this.#gone = gone)));
    if (globalThis.document) {
      const on = (target, event, act) => target.addEventListener(event, act, { signal: this.#listeners.signal });
      on(document, "freeze", () => this.#stop());
      on(document, "resume", () => this.#start());
      on(globalThis, "pagehide", () => this.#stop());
      on(globalThis, "pageshow", () => this.#start());
    }
    this.#start();
  }

  /** Has the leader carry out a command. */
  call(command, ...args) {
    if (this.#closed) return Promise.reject(failure({ name: "Closed", message: "this handle was closed" }));
    return new Promise((resolve, reject) => {
      const request = { client: this.id, id: ++this.#count, command, args };
      const entry = { request, sentTo: undefined, resolve, reject };
      this.#requests.set(request.id, entry);
      this.#send(entry);
      // The candidate failed, or there never was one: it may go better now.
      if (!this.#link) this.#start();
    });
  }

  /** Ends this client. If its worker leads, another client's takes over. */
  async close() {
    if (this.#closed) return;
    this.#closed = true;
    const candidate = this.#candidate;
    if (candidate) {
      await new Promise((left) => {
        candidate.left = left;
        candidate.worker.postMessage({ leave: true });
      });
      candidate.worker.terminate();
    }
    this.#listeners.abort();
    this.#failAll({ name: "Closed", message: "this handle was closed" });
    this.#common.close();
    this.#own.close();
    this.#gone();
  }

  #start() {
    if (this.#closed || this.#candidate) return;
    if (typeof Worker === "function") {
      const id = crypto.randomUUID();
      const worker = new Worker(this.#url, { type: "module" });
      this.#candidate = { id, worker };
      worker.onmessage = ({ data }) => this.#told(data);
      worker.onerror = (event) => {
        this.#candidate = undefined;
        this.#failAll({ name: "Unsupported", message: `no worker: ${event.message ?? "it did not start"}` });
      };
      worker.postMessage({ begin: id, directory: this.#directory });
    } else {
      const message = "no tab leads, and this context cannot start a worker";
      setTimeout(() => this.#leader || this.#failAll({ name: "Unsupported", message }), PATIENCE_MS);
    }
    this.#common.postMessage({ who: true });
  }

  #stop() {
    const candidate = this.#candidate;
    if (!candidate) return;
    candidate.worker.terminate();
    this.#candidate = undefined;
    this.#common.postMessage({ gone: candidate.id });
    // Somebody may lead by the time this page goes on.
    this.#follow(undefined);
  }

  /** Sends nothing more to a leader that is leaving; it still answers what it was sent. */
  #forget(leader) {
    if (leader !== this.#leader) return;
    this.#link?.close?.();
    this.#link = undefined;
  }

  #told(data) {
    if (data.leader) this.#follow(data.leader);
    else if (data.left) this.#candidate?.left?.();
    else if (data.failed) {
      this.#candidate?.worker.terminate();
      this.#candidate = undefined;
      this.#failAll(data.failed);
    } else this.#answered(data);
  }

  #follow(leader) {
    if (leader === this.#leader) return;
    this.#forget(this.#leader);
    this.#leader = leader;
    if (leader) {
      const isOwn = leader === this.#candidate?.id;
      this.#link = isOwn ? this.#candidate.worker : new BroadcastChannel(`${this.#directory}/${leader}`);
    }
    for (const entry of [...this.#requests.values()]) this.#send(entry);
  }

  #send(entry) {
    const { request } = entry;
    const isLost = entry.sentTo !== undefined && entry.sentTo !== this.#leader;
    if (isLost) entry.sentTo = undefined;
    if (isLost && CHANGES.has(request.command)) {
      this.#fail(entry, { name: "Unknown", message: "whoever led is gone: the change may have happened or not" });
    } else if (isLost && isBound(request)) {
      this.#fail(entry, { name: "Interrupted", message: "whoever led is gone: begin again" });
    } else if (this.#link && !entry.sentTo) {
      entry.sentTo = this.#leader;
      this.#link.postMessage(request);
    }
  }

  #answered({ id, value, error, again }) {
    const entry = this.#requests.get(id);
    if (!entry) return;
    if (again) {
      // Not begun: the next leader gets it.
      entry.sentTo = undefined;
      this.#send(entry);
    } else if (error) {
      this.#fail(entry, error);
    } else {
      this.#requests.delete(id);
      entry.resolve(value);
    }
  }

  #fail(entry, error) {
    this.#requests.delete(entry.request.id);
    entry.reject(failure(error));
  }

  #failAll(error) {
    for (const entry of [...this.#requests.values()]) this.#fail(entry, error);
  }
}
