// @ts-check
import { drawChat, drawCustomer, startChat } from "./chat.js";
import { startCountdowns } from "./countdown.js";
import { find, lively, pulse, setText } from "./dom.js";
import { follow } from "./hub.js";
import { drawDeliveries, drawLedger, drawLog, startTabs } from "./records.js";
import { ToolCard } from "./tool.js";

/** @typedef {import("./types.js").ThreadView} ThreadView */
/** @typedef {import("./types.js").ToolView} ToolView */

const cards = [...document.querySelectorAll("[data-tool]")].map((card) => new ToolCard(/** @type {HTMLElement} */ (card)));
const badge = find("#badge");
const tick = startCountdowns();
/** @type {string|null} */
let shown = null;
let shownStep = 0;

/** @param {ThreadView} t */
function drawThread(t) {
  drawCustomer(t.customer);
  const owner = t.owner_name || "nobody yet";
  setText(find("#owner"), owner);
  setText(find("#epoch"), String(t.epoch));
  badge.dataset.receiver = t.owner;
  const now = `${t.customer} ${t.owner} ${t.epoch}`;
  if (shown !== null && shown !== now && t.owner) {
    pulse(badge);
    setText(find("#announcer"), `${owner} is in control, epoch ${t.epoch}.`);
  }
  shown = now;
  setText(find("#conversation"), t.known ? String(t.conversation) : "–");
  setText(find("#state"), t.state);
  drawSteps(t.steps);
}

/** @param {boolean[]} steps */
function drawSteps(steps) {
  const next = steps.indexOf(false);
  steps.forEach((done, i) => {
    const step = find(`[data-step="${i}"]`);
    step.classList.toggle("done", done);
    step.classList.toggle("upcoming", i === next);
    setText(find(".mark", step), done ? "✓" : String(i + 1));
    if (i === next) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  });
  if (next !== shownStep && next >= 0) { // on a phone the guide is a row to be swiped
    const list = find("#guide ol");
    list.scrollTo({ left: find(`[data-step="${next}"]`).offsetLeft - list.offsetLeft - 16, behavior: lively() ? "smooth" : "auto" });
  }
  shownStep = next;
}

/** @param {ToolView[]} views */
function drawTools(views) {
  for (const view of views) cards.find((c) => c.id === view.id)?.draw(view);
  tick();
}

startChat();
startTabs();
find("#tour").addEventListener("click", () => {
  const guide = find("#guide");
  guide.hidden = !guide.hidden;
  find("#tour").setAttribute("aria-expanded", String(!guide.hidden));
});
follow(
  { thread: drawThread, chat: drawChat, tools: drawTools, log: drawLog, ledger: drawLedger, deliveries: (rows) => { drawDeliveries(rows); tick(); } },
  (online) => { find("#offline").hidden = online; },
);
