// @ts-check
import { clockTime, el, find, keyed, setText, stick, toEnd } from "./dom.js";

/** @typedef {import("./types.js").LogLine} LogLine */
/** @typedef {import("./types.js").LedgerLine} LedgerLine */
/** @typedef {import("./types.js").DeliveryRow} DeliveryRow */
/** @typedef {import("./types.js").Attempt} Attempt */

/**
 * Draws one of the lists and gives the pane it scrolls in.
 * @template T
 * @param {string} id of the list
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} draw
 */
function drawList(id, items, keyOf, draw) {
  const list = find(`#${id}`);
  const pane = /** @type {HTMLElement} */ (list.parentElement);
  find(".empty", pane).hidden = items.length > 0;
  keyed(list, items, keyOf, draw);
  return pane;
}

/** @param {LogLine[]} lines */
export function drawLog(lines) {
  const pane = drawList("log", lines, (l) => String(l.id), (l) => {
    const who = el("span.who", { "data-receiver": l.receiver, title: l.who }, l.who);
    const body = el("div.entry-text", null, l.text);
    if (l.detail) body.append(el("span.because", null, ` · ${l.detail}`));
    return el(`li.entry.${l.kind}`, { "data-receiver": l.receiver }, el("time.mono", { datetime: l.at }, clockTime(l.at)), who, body);
  });
  toEnd(pane);
}

/** @param {LedgerLine[]} lines */
export function drawLedger(lines) {
  const pane = drawList("ledger", lines, (l) => String(l.id), (l) => {
    const way = el("span.way", null, el("span.name", { "data-receiver": l.from }, l.from_name), el("span.arrow", { "aria-label": "to" }, "→"), el("span.name", { "data-receiver": l.to }, l.to_name));
    const verdict = l.granted ? el("span.pill.good", null, "granted") : el("span.pill.bad", null, "refused");
    const facts = el("p.facts", null, `by ${l.who}`);
    if (!l.granted) facts.append(" · ", el("code", null, l.code));
    if (l.reason) facts.append(` · ${l.reason}`);
    if (l.granted) facts.append(` · epoch ${l.epoch}`);
    if (l.granted && l.first_answer_ms >= 0) facts.append(` · first answer after ${duration(l.first_answer_ms)}`);
    return el("li.entry", null, el("div.entry-head", null, el("code.op", null, l.op), way, verdict), facts);
  });
  toEnd(pane);
}

/** @param {DeliveryRow[]} rows */
export function drawDeliveries(rows) {
  const waiting = rows.filter((r) => r.state !== "delivered" && r.state !== "dead").length;
  const dead = rows.filter((r) => r.state === "dead").length;
  const tally = [`${rows.length - waiting - dead} delivered`];
  if (waiting) tally.unshift(`${waiting} waiting`);
  if (dead) tally.push(`${dead} dead`);
  setText(find("#tally"), rows.length ? tally.join(" · ") : "");
  drawList("deliveries", rows, (r) => r.id, drawDelivery);
}

/** @param {DeliveryRow} r */
function drawDelivery(r) {
  const last = r.attempts.at(-1);
  const state = el(`span.pill.${pillOf(r)}`, null, labelOf(r, last));
  const row = el(`li.delivery.${r.state}`, { "data-receiver": r.to },
    el("div.entry-head", null, el("span.name", { "data-receiver": r.to }, r.to_name), el("code.hook", null, r.name), state),
    el("p.about", null, r.about));
  if (r.delivery_seq) row.querySelector(".hook")?.append(el("span.seq", null, ` #${r.delivery_seq}`));
  if (r.attempts.length > 1 || (last && !last.ok)) row.append(drawAttempts(r));
  return row;
}

/** @param {DeliveryRow} r */
function drawAttempts(r) {
  const list = el("div.attempts", null);
  for (const a of r.attempts) {
    list.append(el(a.ok ? "span.attempt.ok" : "span.attempt", { title: `attempt ${a.n}: ${a.error || `status ${a.status}`}, ${duration(a.ms)}` }, a.ok ? `✓ ${a.status || "ok"}` : `✕ ${a.status || word(a.error)}`));
  }
  if (r.state === "retrying" && r.next_at) {
    list.append(el("span.next", null, `attempt ${(r.attempts.at(-1)?.n ?? 0) + 1} `, el("span", { "data-at": r.next_at })), el("progress", { "data-at": r.next_at, max: "1", value: "0", "aria-label": "time until the next attempt" }));
  }
  return list;
}

/**
 * The first word of an error: its class.
 * @param {string} error
 */
function word(error) {
  return error.split(/[:\s]/, 1)[0] || "failed";
}

/** @param {DeliveryRow} r */
function pillOf(r) {
  return { delivered: "good", retrying: "warn", queued: "plain-pill", disabled: "bad", dead: "bad" }[r.state];
}

/**
 * @param {DeliveryRow} r
 * @param {Attempt|undefined} last
 */
function labelOf(r, last) {
  switch (r.state) {
    case "delivered":
      return last ? duration(last.ms) : "delivered";
    case "retrying":
      return "retrying";
    case "disabled":
      return "switched off";
    case "dead":
      return "dead letter";
  }
  return "queued";
}

/** @param {number} ms */
function duration(ms) {
  return ms < 1000 ? `${ms < 10 ? ms : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Makes the tabs work by mouse and keyboard. */
export function startTabs() {
  for (const id of ["log", "ledger"]) stick(/** @type {HTMLElement} */ (find(`#${id}`).parentElement));
  const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);
  /** @param {HTMLElement} chosen */
  const choose = (chosen) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
      const pane = find(`#${tab.getAttribute("aria-controls")}`);
      pane.hidden = !on;
      if (on) pane.scrollTop = pane.scrollHeight;
    }
  };
  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      const to = e.key === "Home" ? 0 : e.key === "End" ? tabs.length - 1 : step ? (i + step + tabs.length) % tabs.length : -1;
      if (to < 0) return;
      e.preventDefault();
      choose(tabs[to]);
      tabs[to].focus();
    });
  });
}
