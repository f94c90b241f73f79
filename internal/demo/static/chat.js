// @ts-check
import { el, find, keyed, setText, stick, toEnd } from "./dom.js";
import { ask } from "./hub.js";

/** @typedef {import("./types.js").ChatLine} ChatLine */

const chat = find("#chat");
const empty = find("#chat-empty");
const refusal = find("#chat-refusal");
const input = /** @type {HTMLInputElement} */ (find("#chat-text"));

/** @param {string} text */
async function say(text) {
  const no = await ask("customer/message", { text });
  refusal.hidden = !no;
  refusal.textContent = no ? no.message : "";
  return !no;
}

/** @param {ChatLine} line */
function draw(line) {
  if (line.from === "notice") return el("p.line.notice", null, line.text);
  const row = el(`div.line.${line.from}`, null);
  if (line.from !== "me") row.append(el("span.speaker", null, line.name));
  row.append(el("p.bubble", null, line.text));
  return row;
}

/**
 * The quick replies of the newest message, while it is the newest.
 * @param {ChatLine[]} lines
 */
function drawChoices(lines) {
  const last = lines.at(-1);
  const texts = last?.choices ?? [];
  const chips = find("#chips");
  keyed(chips, [...texts.map((text) => ({ text, offered: true })), ...suggestions.map((text) => ({ text, offered: false }))], (c) => `${c.offered}${c.text}`, (c) => {
    const chip = el(c.offered ? "button.chip.offered" : "button.chip", { type: "button" }, c.text);
    chip.addEventListener("click", () => say(c.text));
    return chip;
  });
}

/** @type {string[]} */
const suggestions = [];

/** @param {ChatLine[]} lines */
export function drawChat(lines) {
  refusal.hidden = true; // it was about the chat as it stood before
  empty.hidden = lines.length > 0;
  keyed(chat, lines, (l) => `${l.id}-${l.from}`, draw);
  toEnd(chat);
  drawChoices(lines);
}

/** @param {string} name */
export function drawCustomer(name) {
  setText(find("#customer-name"), name);
}

export function startChat() {
  for (const chip of find("#chips").querySelectorAll("button")) suggestions.push(chip.textContent ?? "");
  find("#chips").replaceChildren();
  drawChoices([]);
  stick(chat);
  find("#composer").addEventListener("submit", async (e) => {
    e.preventDefault();
    const text = input.value;
    input.value = "";
    if (!(await say(text)) && input.value === "") input.value = text; // not lost
  });
  find("#renew").addEventListener("click", async () => {
    await ask("customer/new");
    input.focus();
  });
}
