// @ts-check
import { el, find, keyed, setText, stick, toEnd } from "./dom.js";
import { ask } from "./hub.js";

/** @typedef {import("./types.js").ToolView} ToolView */
/** @typedef {import("./types.js").HeardLine} HeardLine */
/** @typedef {import("./types.js").No} No */

/** One tool's card. It draws what it is given and asks for what is pressed. */
export class ToolCard {
  /** @param {HTMLElement} card */
  constructor(card) {
    this.card = card;
    this.id = card.dataset.tool ?? "";
    this.select = /** @type {HTMLSelectElement} */ (find("select", card));
    this.refusal = find(".refusal", card);
    /** @type {ToolView|null} */
    this.view = null;
    stick(find(".heard", card));
    for (const button of card.querySelectorAll("[data-op]")) {
      if (button instanceof HTMLElement) button.addEventListener("click", () => this.press(button));
    }
    this.select.addEventListener("change", () => this.drawActions());
    const input = /** @type {HTMLInputElement} */ (find(".composer .field", card));
    find(".composer", card).addEventListener("submit", async (e) => {
      e.preventDefault();
      const no = await ask("tool/reply", { tool: this.id, text: input.value });
      this.refuse(no);
      if (!no) input.value = "";
    });
    for (const radio of card.querySelectorAll("input[type=radio]")) {
      if (radio instanceof HTMLInputElement) radio.addEventListener("change", () => this.setMode(radio.value));
    }
    find(".back", card).addEventListener("click", async () => {
      await this.setMode("healthy");
      find("input[value=healthy]", card).focus();
    });
  }

  /** @param {string} mode */
  async setMode(mode) {
    this.refuse(await ask("tool/mode", { tool: this.id, mode }));
  }

  /**
   * What the hub would say to an action now; null = yes.
   * @param {string} op
   * @returns {No|null}
   */
  wouldRefuse(op) {
    if (op === "pass" || op === "offer") {
      const target = this.view?.targets.find((t) => t.id === this.select.value);
      return target ? target[op] : { code: "unknown_receiver", message: "there is nobody to give it to" };
    }
    return this.view?.can[op] ?? null;
  }

  /** @param {HTMLElement} button */
  press(button) {
    const op = button.dataset.op ?? "";
    const no = this.wouldRefuse(op);
    if (no) this.refuse(no, () => this.perform(op));
    else this.perform(op);
  }

  /** @param {string} op */
  async perform(op) {
    this.refuse(await ask("tool/do", { tool: this.id, op, to: this.select.value }));
  }

  /**
   * Shows why something is refused. With anyway the hub was not asked yet.
   * @param {No|null} no
   * @param {() => void} [anyway]
   */
  refuse(no, anyway) {
    this.refusal.hidden = !no;
    this.refusal.replaceChildren();
    if (!no) return;
    this.refusal.append(el("span", null, anyway ? "The hub would refuse: " : "Refused: ", el("b", null, no.message), " ", el("code", null, no.code)));
    if (anyway) {
      const attempt = el("button.plain", { type: "button" }, "Try it anyway");
      attempt.addEventListener("click", anyway);
      this.refusal.append(attempt);
    }
  }

  /** @param {ToolView} view */
  draw(view) {
    if (this.view && this.view.owner !== view.owner) this.refuse(null);
    this.view = view;
    const { card } = this;
    card.classList.toggle("owner", view.owner);
    find(".owns", card).hidden = !view.owner;
    const health = find(".health", card);
    health.dataset.state = view.health;
    health.title = view.why;
    setText(find(".health-text", card), view.health === "disabled" ? "switched off" : view.health);
    this.drawMode(view);
    this.drawStrips(view);
    const box = find(".heard", card);
    find(".heard-empty", card).hidden = view.entries.length > 0;
    keyed(box, view.entries, (e) => e.key, drawHeard);
    toEnd(box);
    this.drawTargets(view);
    this.drawActions();
  }

  /** @param {ToolView} view */
  drawMode({ mode, health }) {
    for (const radio of this.card.querySelectorAll("input[type=radio]")) {
      if (radio instanceof HTMLInputElement) radio.checked = radio.value === mode;
    }
    this.card.dataset.mode = mode;
    find(".back", this.card).hidden = mode === "healthy" && health !== "disabled"; // a call on its way may fail last of all
  }

  /** @param {ToolView} view */
  drawStrips(view) {
    const notice = find(".notice", this.card);
    notice.hidden = view.notice === "";
    if (notice.dataset.text !== view.notice + view.can.decline) {
      notice.dataset.text = view.notice + view.can.decline;
      notice.replaceChildren(el("span", null, view.notice));
      if (view.notice && !view.can.decline) {
        const decline = el("button.plain", { type: "button" }, "Decline");
        decline.addEventListener("click", () => this.perform("decline"));
        notice.append(decline);
      }
    }
    const ack = find(".ack", this.card);
    ack.hidden = !view.ack_at;
    if (ack.dataset.until !== view.ack_at) {
      ack.dataset.until = view.ack_at ?? "";
      ack.replaceChildren("No sign of life: ", el("b", null, view.ack_to ?? ""), " takes over ", el("span", { "data-at": view.ack_at ?? "" }), ".");
    }
  }

  /** @param {ToolView} view */
  drawTargets(view) {
    keyed(this.select, view.targets.map(({ id, name }) => ({ id, name })), (t) => t.id, (t) => el("option", { value: t.id }, `to ${t.name}`));
  }

  drawActions() {
    for (const button of this.card.querySelectorAll("[data-op]")) {
      if (!(button instanceof HTMLElement)) continue;
      const no = this.wouldRefuse(button.dataset.op ?? "");
      button.setAttribute("aria-disabled", no ? "true" : "false");
      if (no) {
        button.title = `The hub would refuse: ${no.message}`;
      } else {
        button.removeAttribute("title");
      }
    }
  }
}

/** @param {HeardLine} e */
function drawHeard(e) {
  const number = e.seq ? el("span.seq", { title: "delivery_seq" }, `#${e.seq}`) : "";
  if (e.kind === "event") {
    return el("p.line.event", { title: e.text }, number, el("b", null, e.who), el("span", null, e.text));
  }
  const meta = el("span.speaker", null, e.who, number);
  if (e.standby) meta.append(el("span.tag", { title: "The tool does not own the thread: it listens" }, "standby"));
  if (e.caught_up) meta.append(el("span.tag", { title: "Fetched from the feed after a gap" }, "from the feed"));
  return el(`div.line.${e.from}${e.standby ? ".standby" : ""}`, null, meta, el("p.bubble", null, e.text));
}
