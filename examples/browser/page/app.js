// The explorer: rows by prefix as it is typed, one row to edit, what the database holds, and how fast it is beside IndexedDB.
// The database runs in a worker of the package; every tab of this page shares it.
import { Batch, open } from "./trine-kv/index.js";
import { rates } from "./rates.js";

const SHOWN = 500;
const ROWS_AT_ONCE = 1000;
const $ = (id) => document.getElementById(id);
const text = (bytes) => new TextDecoder().decode(bytes);

navigator.serviceWorker?.register("offline.js");

let db;
let rows = [];
let chosen = -1;
/** Counts searches: one that is overtaken by the next shows nothing. */
let searches = 0;

function tell(message, isBad = false) {
  $("status").textContent = message;
  $("status").className = isBad ? "bad" : "";
}

/** Runs what a person asked for; what goes wrong is told. */
const act = (work) => async (event) => {
  event?.preventDefault?.();
  try {
    await work(event);
  } catch (error) {
    tell(`${error.name}: ${error.message}`, true);
  }
};

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < 3) [bytes, unit] = [bytes / 1024, unit + 1];
  return `${bytes < 10 && unit > 0 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

function cell(content) {
  const span = document.createElement("span");
  span.append(...[content].flat());
  return span;
}

function choose(number, show = true) {
  chosen = Math.max(-1, Math.min(number, rows.length - 1));
  for (const [at, row] of [...$("rows").children].entries()) row.setAttribute("aria-selected", at === chosen);
  if (chosen < 0) return;
  const row = $("rows").children[chosen];
  $("rows").setAttribute("aria-activedescendant", row.id);
  row.scrollIntoView({ block: "nearest" });
  if (show) [$("key").value, $("value").value] = rows[chosen];
}

async function search() {
  const mine = ++searches;
  const prefix = $("search").value;
  const start = performance.now();
  const found = [];
  for await (const row of db.scan({ prefix, reverse: $("reverse").checked, limit: SHOWN + 1 })) found.push(row.map(text));
  if (mine !== searches) return;
  const time = performance.now() - start;
  const key = rows[chosen]?.[0];
  rows = found.slice(0, SHOWN);
  $("rows").replaceChildren(
    ...rows.map(([key, value], number) => {
      const item = document.createElement("li");
      item.id = `row-${number}`;
      item.role = "option";
      const mark = document.createElement("mark");
      mark.textContent = key.slice(0, prefix.length);
      item.append(cell([mark, key.slice(prefix.length)]), cell(value.slice(0, 200)));
      item.onclick = () => choose(number);
      return item;
    }),
  );
  const count = found.length > SHOWN ? `The first ${SHOWN} rows` : `${found.length} ${found.length === 1 ? "row" : "rows"}`;
  $("found").textContent = `${count} in ${time.toFixed(1)} ms`;
  choose(rows.findIndex((row) => row[0] === key), false);
}

async function refresh() {
  const { tables, tableBytes, blobBytes, memtableBytes, sequence } = await db.stats();
  const shown = { "Commits": sequence, "In memory": size(memtableBytes), "Tables": tables, "In tables": size(tableBytes), "Large values": size(blobBytes) };
  $("stats").replaceChildren(
    ...Object.entries(shown).map(([name, value]) => {
      const [box, term, data] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      [term.textContent, data.textContent] = [name, value];
      box.append(term, data);
      return box;
    }),
  );
}

async function show(message) {
  await Promise.all([search(), refresh()]);
  tell(message);
}

/** Rows of a text: key and value parted by a tab or, without one, the first comma; a line without either is a key. */
async function* rowsOf(file) {
  if (file.name.endsWith(".json")) {
    const content = JSON.parse(await file.text());
    for (const [key, value] of Object.entries(content)) {
      yield [Array.isArray(content) ? key.padStart(9, "0") : key, typeof value === "string" ? value : JSON.stringify(value)];
    }
    return;
  }
  let rest = "";
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  for (let read; !(read = await reader.read()).done; ) {
    const lines = (rest + read.value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) if (line) yield parted(line);
  }
  if (rest) yield parted(rest);
}

function parted(line) {
  const at = line.includes("\t") ? line.indexOf("\t") : line.indexOf(",");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
}

async function load(file) {
  if ((await file.slice(0, 8).text()) === "TRINEARC") {
    if (!confirm("This archive replaces everything that is here. Go on?")) return;
    try {
      await db.import(file);
    } catch (error) {
      await show("");
      throw error;
    }
    return show(`${file.name} is here now`);
  }
  const start = performance.now();
  let batch = new Batch();
  let count = 0;
  for await (const [key, value] of rowsOf(file)) {
    batch.put(key, value);
    if (++count % ROWS_AT_ONCE === 0) {
      await db.write(batch);
      batch = new Batch();
      tell(`${count} rows…`);
    }
  }
  await db.write(batch);
  const rate = Math.round((count * 1000) / (performance.now() - start));
  return show(`${count} rows of ${file.name}, ${rate.toLocaleString("en")} a second`);
}

async function save() {
  await db.put($("key").value, $("value").value);
  await show(`Saved ${$("key").value}`);
  choose(rows.findIndex((row) => row[0] === $("key").value));
}

async function remove() {
  const key = $("key").value;
  if (!key) return;
  const at = chosen;
  await db.delete(key);
  await show(`Deleted ${key}`);
  if (at < 0 || rows.length === 0) return blank();
  choose(Math.min(at, rows.length - 1));
}

function blank() {
  choose(-1);
  [$("key").value, $("value").value] = ["", ""];
}

async function compare() {
  $("compare").disabled = true;
  $("rates").hidden = false;
  const [body] = $("rates").tBodies;
  body.replaceChildren();
  const slow = new Map();
  try {
    await rates(db, Batch, 10_000, (store, what, rate) => {
      $("progress").textContent = `${store}: ${what}`;
      if (store === "IndexedDB") {
        const row = body.insertRow();
        for (const content of [what, rate.toLocaleString("en"), "", ""]) row.insertCell().textContent = content;
        slow.set(what, { row, rate });
      } else {
        const { row, rate: theirs } = slow.get(what);
        row.cells[2].textContent = rate.toLocaleString("en");
        row.cells[3].textContent = `${(rate / theirs).toFixed(1)} ×`;
      }
    });
  } finally {
    $("compare").disabled = false;
    $("progress").textContent = "";
  }
  await show("10,000 rows of 116 bytes, through this page's worker");
}

async function exportAll() {
  const archive = await new Response(db.export()).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(archive);
  link.download = "database.trine";
  link.click();
  URL.revokeObjectURL(link.href);
  tell(`Exported ${size(archive.size)}`);
}

function key(event) {
  const inList = document.activeElement === $("rows") || document.activeElement === $("search");
  const inField = ["INPUT", "TEXTAREA"].includes(document.activeElement?.tagName);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12 };
  if (event.key === "/" && !inField) {
    event.preventDefault();
    $("search").focus();
    $("search").select();
  } else if (event.key === "Escape") {
    $("rows").focus();
  } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $("row").requestSubmit();
  } else if (inList && event.key in moves) {
    event.preventDefault();
    choose(Math.max(0, chosen + moves[event.key]));
    $("rows").focus();
  } else if (inList && event.key === "Enter" && chosen >= 0) {
    event.preventDefault();
    $("value").focus();
  } else if (event.key === "Delete" && document.activeElement === $("rows")) {
    act(remove)();
  }
}

$("search").oninput = act(search);
$("reverse").onchange = act(search);
$("row").onsubmit = act(save);
$("delete").onclick = act(remove);
$("new").onclick = () => (blank(), $("key").focus());
$("compare").onclick = act(compare);
$("export").onclick = act(exportAll);
$("clear").onclick = act(async () => {
  if (!confirm("Remove every row?")) return;
  await db.clear();
  blank();
  await show("Everything is gone");
});
$("file").onchange = act(async () => {
  const [file] = $("file").files;
  if (file) await load(file);
  $("file").value = "";
});
document.querySelector("label.button").onkeydown = (event) => {
  if (event.key === "Enter" || event.key === " ") $("file").click();
};
document.onkeydown = key;
document.ondragover = (event) => event.preventDefault();
document.ondrop = act(({ dataTransfer }) => load(dataTransfer.files[0]));

await act(async () => {
  db = await open();
  await show("Open, on this browser's private file system");
  $("search").focus();
})();
window.ready = true;
