// @ts-check

/**
 * Makes an element. Strings become text, never HTML.
 * @param {string} name tag, with classes: "p.note.small"
 * @param {Record<string, string>|null} attributes
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function el(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = document.createElement(tag);
  node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/**
 * Finds what the page must have.
 * @param {string} selector
 * @param {ParentNode} [within]
 * @returns {HTMLElement}
 */
export function find(selector, within = document) {
  const node = within.querySelector(selector);
  if (!(node instanceof HTMLElement)) throw new Error(`the page has no ${selector}`);
  return node;
}

/**
 * Sets text only where it is another, so that nothing is announced twice.
 * @param {HTMLElement} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** What each node of a list was drawn from.
 * @type {WeakMap<HTMLElement, string>} */
const prints = new WeakMap();

/**
 * Brings the children of a list in line with its items. Nodes of items that stay
 * are kept: focus, selection and animations survive.
 * @template T
 * @param {HTMLElement} list
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} draw
 */
export function keyed(list, items, keyOf, draw) {
  /** @type {Map<string, HTMLElement>} */
  const have = new Map();
  for (const child of list.children) if (child instanceof HTMLElement) have.set(child.dataset.key ?? "", child);
  const first = have.size === 0;
  let at = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const print = JSON.stringify(item);
    let node = have.get(key);
    have.delete(key);
    if (!node || prints.get(node) !== print) {
      const fresh = draw(item);
      fresh.dataset.key = key;
      prints.set(fresh, print);
      if (node) {
        if (node === at) at = node.nextElementSibling;
        node.replaceWith(fresh);
        if (at !== fresh.nextElementSibling) list.insertBefore(fresh, at);
      } else {
        if (!first) fresh.classList.add("fresh");
        list.insertBefore(fresh, at);
      }
      continue;
    }
    if (node === at) at = at.nextElementSibling;
    else list.insertBefore(node, at);
  }
  for (const gone of have.values()) gone.remove();
}

/** Which scrolling lists their reader has moved away from the end.
 * @type {WeakSet<HTMLElement>} */
const moved = new WeakSet();

/**
 * Keeps a scrolling list at its end until its reader moves away from there.
 * @param {HTMLElement} box
 */
export function stick(box) {
  box.addEventListener("scroll", () => {
    if (box.scrollHeight - box.scrollTop - box.clientHeight < 40) moved.delete(box);
    else moved.add(box);
  }, { passive: true });
  new ResizeObserver(() => toEnd(box)).observe(box);
}

/**
 * Follows what was added to a list that sticks to its end.
 * @param {HTMLElement} box
 */
export function toEnd(box) {
  if (!moved.has(box)) box.scrollTop = box.scrollHeight;
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether things may move. */
export function lively() {
  return !calm.matches;
}

/**
 * Draws attention to a change, unless motion is unwanted.
 * @param {HTMLElement} node
 */
export function pulse(node) {
  if (!lively()) return;
  node.animate(
    [{ transform: "scale(1)" }, { transform: "scale(1.06)", boxShadow: "0 0 0 6px color-mix(in srgb, var(--mine) 25%, transparent)" }, { transform: "scale(1)" }],
    { duration: 520, easing: "cubic-bezier(.2,.8,.2,1)" },
  );
}

/**
 * The time of day of an instant, for people.
 * @param {string} iso
 */
export function clockTime(iso) {
  const t = new Date(iso);
  return Number.isNaN(t.getTime()) ? "" : t.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}
