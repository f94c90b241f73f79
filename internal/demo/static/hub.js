// @ts-check
// The page's way to the server: one stream of state, and orders.

/** How far the server's clock is ahead of this one, in milliseconds. */
let ahead = 0;

/** The server's time, as near as it can be known. */
export function now() {
  return Date.now() + ahead;
}

/**
 * Follows the state. Each part comes whole when it changes; the browser connects
 * again by itself and says what it has seen.
 * @param {Record<string, (state: any) => void>} parts
 * @param {(online: boolean) => void} online
 */
export function follow(parts, online) {
  const stream = new EventSource("/demo/events");
  stream.addEventListener("clock", (e) => {
    ahead = Date.parse(JSON.parse(e.data)) - Date.now();
  });
  for (const [name, draw] of Object.entries(parts)) {
    stream.addEventListener(name, (e) => draw(JSON.parse(e.data)));
  }
  stream.addEventListener("open", () => online(true));
  stream.addEventListener("error", () => {
    online(false);
    // After an answer that is no stream the browser gives up; the server may be starting.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
  });
}

/**
 * Asks for something and gives why it was refused, or null.
 * @param {string} what path below /demo/
 * @param {Record<string, string>} order
 * @returns {Promise<import("./types.js").No|null>}
 */
export async function ask(what, order = {}) {
  try {
    const res = await fetch(`/demo/${what}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order) });
    const said = await res.json();
    return res.ok ? said.refused : { code: said.code, message: said.error };
  } catch {
    return { code: "offline", message: "the demo does not answer" };
  }
}
