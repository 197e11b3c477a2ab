// Keeps the page's files, so that it works without a network; the network's are taken where there is one.
const KEPT = "trine-kv-explorer";
const FILES = [
  "./", "index.html", "style.css", "app.js", "rates.js", "trine-kv/index.js", "trine-kv/client.js",
  "trine-kv/worker.js", "trine-kv/trine_kv_web.js", "trine-kv/trine_kv_web_bg.wasm",
];

oninstall = (event) => {
  skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(FILES)));
};
onactivate = (event) => event.waitUntil(clients.claim());
onfetch = (event) => {
  const answer = async () => {
    const kept = await caches.open(KEPT);
    try {
      const fresh = await fetch(event.request);
      if (fresh.ok && event.request.method === "GET") await kept.put(event.request, fresh.clone());
      return fresh;
    } catch (error) {
      return (await kept.match(event.request, { ignoreSearch: true })) ?? Promise.reject(error);
    }
  };
  event.respondWith(answer());
};
