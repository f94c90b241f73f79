// @ts-check
import { now } from "./hub.js";

/**
 * Seconds until an instant, never below zero.
 * @param {string} iso
 */
function left(iso) {
  return Math.max(0, (Date.parse(iso) - now()) / 1000);
}

/** Keeps every countdown on the page up to date: elements with data-at. */
export function startCountdowns() {
  const tick = () => {
    for (const node of document.querySelectorAll("[data-at]")) {
      if (!(node instanceof HTMLElement)) continue;
      const seconds = left(node.dataset.at ?? "");
      if (node instanceof HTMLProgressElement) {
        node.max = Math.max(node.max === 1 ? seconds : node.max, 0.1);
        node.value = node.max - seconds;
      } else {
        node.textContent = seconds === 0 ? "now" : `in ${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
      }
    }
  };
  setInterval(tick, 200);
  return tick;
}
