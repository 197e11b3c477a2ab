// A tab of the tests: `call(command, ...)` has its dedicated worker carry out a command of worker.js.
const waiting = new Map();
const worker = new Worker("worker.js", { type: "module" });
worker.onmessage = ({ data: { id, value, error, progress } }) => {
  if (progress !== undefined) return void (window.committed = progress);
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(Object.assign(new Error(error.message), { name: error.name }));
  else resolve(value);
};
let calls = 0;
window.call = (command, ...args) =>
  new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject });
    worker.postMessage({ id: calls, command, args });
  });
window.ready = true;
