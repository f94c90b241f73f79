// @ts-check
// Draws the API reference from /openapi.json. Every text goes in as text,
// never as HTML, so nothing in the description can become markup.

const HTTP_METHODS = ["get", "post", "put", "patch", "delete"];

/**
 * One operation, or one call that the hub makes (hook).
 * @typedef {{id: string, method: string, path: string, op: any, hook: boolean}} Entry
 * @typedef {{name: string, description: string, entries: Entry[]}} Group
 */

/** @type {any} the OpenAPI document, set once by start() */
let spec = {};

start();

async function start() {
  const main = byId("content");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
    spec = await answer.json();
  } catch (err) {
    main.replaceChildren(el("p", { class: "note", role: "alert" }, `The description could not be loaded: ${err instanceof Error ? err.message : err}`));
    return;
  }
  const groups = groupEntries();
  main.replaceChildren(overview(), ...groups.map(groupSection));
  byId("index").replaceChildren(...groups.map(indexGroup));
  wireFilter();
  wireMenu();
  followReading();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

// ---------------------------------------------------------------- the document

/** @returns {Group[]} */
function groupEntries() {
  /** @type {Group[]} */
  const groups = spec.tags.map((/** @type {any} */ t) => ({ name: t.name, description: t.description ?? "", entries: [] }));
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const entry of entriesOf(path, item, false)) groups.find((g) => g.name === entry.op.tags[0])?.entries.push(entry);
  }
  const hooks = Object.values(spec["x-webhooks"] ?? {}).flatMap((item) => entriesOf("", item, true));
  groups.push({ name: "Webhooks", description: "The calls that TRACT makes, to the URLs that tools registered and to the channel webhooks of clients.", entries: hooks });
  return groups.filter((g) => g.entries.length > 0);
}

/** @param {string} path @param {any} item @param {boolean} hook @returns {Entry[]} */
function entriesOf(path, item, hook) {
  return HTTP_METHODS.filter((m) => item[m]).map((m) => ({
    id: item[m].operationId,
    method: hook ? "hook" : m,
    path: hook ? item[m].summary : path,
    op: item[m],
    hook,
  }));
}

/** Follows a reference to what it stands for. @param {any} node @returns {any} */
function deref(node) {
  while (node?.$ref) {
    node = node.$ref.slice(2).split("/").reduce((/** @type {any} */ at, /** @type {string} */ key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], spec);
  }
  return node;
}

/** A schema without references, its allOf parts laid over one another. @param {any} schema @returns {any} */
function flatten(schema) {
  schema = deref(schema) ?? {};
  if (!schema.allOf) return schema;
  const { allOf, ...own } = schema;
  /** @type {any} */
  const out = { properties: {}, required: [] };
  for (const part of [...allOf.map(flatten), own]) {
    const { properties = {}, required = [], ...rest } = part;
    Object.assign(out, rest);
    for (const [name, p] of Object.entries(properties)) {
      const below = out.properties[name];
      out.properties[name] = below ? { ...deref(below), ...deref(p) } : p;
    }
    out.required.push(...required);
  }
  return out;
}

/** @param {any} holder a media type @returns {{name: string, value: any}[]} */
function examplesOf(holder) {
  if (!holder) return [];
  if (holder.examples) return Object.entries(holder.examples).map(([key, e]) => ({ name: deref(e).summary ?? key, value: deref(e).value }));
  return holder.example === undefined ? [] : [{ name: "", value: holder.example }];
}

/** The first media type of a body. @param {any} body @returns {{type: string, media: any}} */
function mediaOf(body) {
  const [type, media] = Object.entries(deref(body)?.content ?? {})[0] ?? ["", null];
  return { type, media };
}

// -------------------------------------------------------------------- sections

function overview() {
  const schemes = Object.entries(spec.components.securitySchemes).map(([key, s]) =>
    el("div", { class: "field", id: `auth-${key}` },
      el("div", { class: "field-head" }, el("code", { class: "name" }, schemeTitle(s)), el("span", { class: "type" }, schemeKind(key, s))),
      prose(s.description ?? "")));
  return el("section", { id: "overview", class: "overview" },
    el("p", { class: "eyebrow" }, `Version ${spec.info.version}`),
    el("h1", {}, `${spec.info.title} API`),
    el("div", { class: "lead" }, prose(spec.info.description ?? "")),
    el("p", {}, "The description behind this page: ", el("a", { href: "/openapi.json" }, "/openapi.json")),
    el("h2", { id: "authentication-schemes" }, "Ways to prove who is calling"),
    el("div", { class: "fields" }, ...schemes));
}

/** @param {any} s */
function schemeTitle(s) {
  return s.type === "http" ? "Authorization: Bearer" : s.name;
}

/** Tells the bearer tokens apart: "toolToken" is "tool token". @param {string} key @param {any} s */
function schemeKind(key, s) {
  return s.type === "http" ? key.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`) : "header";
}

/** @param {Group} group */
function groupSection(group) {
  return el("section", { class: "group", id: slug(group.name) },
    el("h2", {}, group.name),
    el("div", { class: "lead" }, prose(group.description)),
    ...group.entries.map(article));
}

/** @param {Entry} entry */
function article(entry) {
  const { op } = entry;
  return el("article", { class: "op", id: entry.id },
    el("header", { class: "op-head" },
      el("h3", {}, el("a", { href: `#${entry.id}` }, op.summary)),
      entry.hook ? null : el("p", { class: "route" }, badge(entry.method), el("code", {}, breakable(entry.path)))),
    el("div", { class: "op-text" },
      el("div", { class: "prose" }, prose(op.description ?? "")),
      authentication(op),
      parameters(op),
      requestBody(entry),
      answers(entry)),
    el("div", { class: "op-code" }, requestPanel(entry), answerPanel(op)));
}

/** @param {any} op */
function authentication(op) {
  if (!op.security) return null;
  const ways = op.security.map((/** @type {any} */ need) => Object.keys(need));
  if (ways.length === 0) return block("Authentication", el("p", { class: "quiet" }, "None."));
  /** @param {string} key */
  const link = (key) => {
    const s = spec.components.securitySchemes[key];
    return [el("a", { href: `#auth-${key}` }, el("code", {}, schemeTitle(s))), s.type === "http" ? ` with a ${schemeKind(key, s)}` : ""];
  };
  const rows = ways.map((/** @type {string[]} */ keys) => el("li", {}, ...keys.flatMap((key, i) => [i ? " and " : "", ...link(key)])));
  return block(ways.length > 1 ? "Authentication, one of" : "Authentication", el("ul", { class: "plain" }, ...rows));
}

/** @param {any} op */
function parameters(op) {
  const all = (op.parameters ?? []).map(deref);
  return [["query", "Query"], ["path", "Path"], ["header", "Headers"]].map(([place, title]) => {
    const some = all.filter((/** @type {any} */ p) => p.in === place);
    if (some.length === 0) return null;
    return block(title, el("div", { class: "fields" }, ...some.map((/** @type {any} */ p) =>
      field(p.name, { ...flatten(p.schema), description: p.description, deprecated: p.deprecated }, !!p.required, 0))));
  });
}

/** @param {Entry} entry */
function requestBody(entry) {
  const body = deref(entry.op.requestBody);
  if (!body) return null;
  const { type, media } = mediaOf(body);
  return block(body.required ? "Request body" : "Request body, optional",
    el("p", { class: "quiet" }, el("code", {}, type)),
    body.description ? prose(body.description) : null,
    schemaView(media.schema, 0));
}

/** @param {Entry} entry */
function answers(entry) {
  const rows = Object.entries(entry.op.responses).map(([status, ref]) => {
    const answer = deref(ref);
    const { type, media } = mediaOf(answer);
    const failed = !status.startsWith("2");
    return el("details", { class: "answer", open: !failed },
      el("summary", {}, el("span", { class: `status s${status[0]}` }, status), el("span", { class: "answer-text" }, ...inline(answer.description))),
      el("div", { class: "answer-body" },
        answerHeaders(answer),
        media ? el("div", {}, el("h5", {}, "Body ", el("code", {}, type)), schemaView(media.schema, 0)) : null,
        failed ? exampleList(media) : null));
  });
  return block(entry.hook ? "Your answer" : "Answers", ...rows);
}

/** @param {any} answer */
function answerHeaders(answer) {
  const headers = Object.entries(answer.headers ?? {});
  if (headers.length === 0) return null;
  return el("details", { class: "fold" },
    el("summary", {}, headers.length === 1 ? "1 header: " : `${headers.length} headers: `, el("code", {}, headers.map(([name]) => name).join(", "))),
    el("div", { class: "fields" }, ...headers.map(([name, h]) => field(name, { ...flatten(deref(h).schema), description: deref(h).description }, !!deref(h).required, 0))));
}

/** @param {any} media */
function exampleList(media) {
  const list = examplesOf(media);
  if (list.length === 0) return null;
  return el("div", {}, el("h5", {}, list.length > 1 ? "Examples" : "Example"),
    ...list.map((e) => el("figure", { class: "example" },
      e.name ? el("figcaption", {}, e.name) : null, el("pre", { tabindex: "0" }, el("code", {}, ...highlight(show(e.value)))))));
}

// --------------------------------------------------------------------- schemas

/** @param {any} ref @param {number} depth @returns {Node} */
function schemaView(ref, depth) {
  const schema = flatten(ref);
  const variants = schema.oneOf ?? schema.anyOf;
  if (variants?.some((/** @type {any} */ v) => isComplex(flatten(v)))) {
    return el("div", { class: "variants" }, el("p", { class: "quiet" }, "One of:"), ...variants.map((/** @type {any} */ v, /** @type {number} */ i) =>
      el("details", { class: "fold", open: i === 0 },
        el("summary", {}, variantName(v), " ", el("span", { class: "type" }, typeName(v))), schemaView(v, depth + 1))));
  }
  if (schema.type === "array") return schemaView(schema.items, depth);
  const rows = Object.entries(schema.properties ?? {}).map(([name, p]) => field(name, p, (schema.required ?? []).includes(name), depth));
  if (typeof schema.additionalProperties === "object") rows.push(field("any name", schema.additionalProperties, false, depth, true));
  if (rows.length === 0) return el("p", { class: "quiet" }, typeName(schema), schema.description ? `: ${schema.description}` : "");
  return el("div", { class: "fields" }, ...rows);
}

/** @param {any} v */
function variantName(v) {
  return flatten(v).title ?? refName(v) ?? flatten(v).type ?? "any";
}

/** @param {any} v */
function refName(v) {
  return v?.$ref?.split("/").pop();
}

/** @param {any} schema */
function isComplex(schema) {
  if (schema.type === "array") return isComplex(flatten(schema.items));
  return !!schema.properties || typeof schema.additionalProperties === "object" ||
    !!(schema.oneOf ?? schema.anyOf)?.some((/** @type {any} */ v) => isComplex(flatten(v)));
}

/** @param {string} name @param {any} ref @param {boolean} required @param {number} depth @param {boolean} [anyName] */
function field(name, ref, required, depth, anyName = false) {
  const schema = flatten(ref);
  const head = [
    el("code", { class: anyName ? "name any" : "name" }, anyName ? `<${name}>` : name),
    el("span", { class: "type" }, typeName(ref)),
    required ? el("span", { class: "required" }, "required") : null,
    schema.deprecated ? el("span", { class: "deprecated" }, "deprecated") : null,
  ];
  const item = schema.type === "array" ? flatten(schema.items) : schema;
  const text = [schema.description ? prose(schema.description) : null, limits(schema, item)];
  if (!isComplex(schema)) return el("div", { class: "field" }, el("div", { class: "field-head" }, ...head), ...text);
  return el("div", { class: "field" },
    el("details", { class: "nest", open: depth === 0 && required && Object.keys(item.properties ?? {}).length <= 4 },
      el("summary", { class: "field-head" }, ...head), ...text, schemaView(schema, depth + 1)));
}

/** @param {any} ref @returns {string} */
function typeName(ref) {
  const s = flatten(ref);
  const orNull = s.nullable ? " or null" : "";
  if (s.type === "array") return `array of ${typeName(s.items)}${orNull}`;
  const variants = s.oneOf ?? s.anyOf;
  if (variants) return [...new Set(variants.map(typeName))].join(" or ") + orNull;
  if (s.enum?.length === 1 && s.enum[0] === null) return "null";
  if (s.format === "date-time") return `instant${orNull}`;
  return (s.type ?? "any") + orNull;
}

/** The rules for a value, as small labels. @param {any} schema @param {any} item */
function limits(schema, item) {
  const out = [];
  const values = (item.enum ?? []).filter((/** @type {any} */ v) => v !== null);
  for (const v of values) out.push(el("code", { class: "value" }, JSON.stringify(v)));
  /** @param {string} text */
  const rule = (text) => out.push(el("span", { class: "rule" }, text));
  if (schema.default !== undefined) rule(`default ${JSON.stringify(schema.default)}`);
  if (schema.minLength > 1 && schema.maxLength) rule(`${schema.minLength} to ${schema.maxLength} characters`);
  else if (schema.maxLength) rule(`at most ${schema.maxLength} characters`);
  else if (schema.minLength) rule("not empty");
  if (schema.minimum !== undefined && schema.maximum !== undefined && schema.maximum < 1e9) rule(`${schema.minimum} to ${schema.maximum}`);
  else if (schema.minimum !== undefined) rule(`at least ${schema.minimum}`);
  if (schema.minItems) rule(`at least ${schema.minItems} item${schema.minItems > 1 ? "s" : ""}`);
  if (schema.maxItems) rule(`at most ${schema.maxItems} items`);
  if (item.pattern && item.format !== "date-time") out.push(el("code", { class: "value pattern", title: "has to match" }, item.pattern));
  return out.length ? el("div", { class: "limits" }, ...out) : null;
}

// ---------------------------------------------------------------- code panels

/** @param {Entry} entry */
function requestPanel(entry) {
  const list = examplesOf(mediaOf(entry.op.requestBody).media);
  const write = entry.hook ? httpText : curlText;
  const lang = entry.hook ? "What arrives" : "curl";
  const code = el("code", {});
  /** @param {number} i */
  const draw = (i) => {
    code.replaceChildren(...highlight(write(entry, list[i]?.value)));
  };
  draw(0);
  return panel(lang, code, list.length > 1 ? picker("Example of the request", list, draw) : null);
}

/** @param {any} op */
function answerPanel(op) {
  const [status, ref] = Object.entries(op.responses).find(([s]) => s.startsWith("2")) ?? [];
  const list = examplesOf(mediaOf(ref).media);
  if (list.length === 0) return null;
  const code = el("code", {});
  /** @param {number} i */
  const draw = (i) => code.replaceChildren(...highlight(show(list[i].value)));
  draw(0);
  return panel(`Answer ${status}`, code, list.length > 1 ? picker("Example of the answer", list, draw) : null);
}

/** @param {string} title @param {HTMLElement} code @param {HTMLElement | null} choice */
function panel(title, code, choice) {
  const copy = el("button", { type: "button", class: "copy", "aria-label": `Copy: ${title}` }, "Copy");
  copy.addEventListener("click", () => copyText(code, copy));
  return el("div", { class: "panel" },
    el("div", { class: "panel-head" }, el("span", { class: "panel-title" }, title), choice, copy),
    el("pre", { tabindex: "0" }, code));
}

/** @param {string} label @param {{name: string}[]} list @param {(i: number) => void} draw */
function picker(label, list, draw) {
  const select = /** @type {HTMLSelectElement} */ (el("select", { "aria-label": label }, ...list.map((e, i) => el("option", { value: String(i) }, e.name))));
  select.addEventListener("change", () => draw(Number(select.value)));
  return select;
}

/**
 * A call that works as it is copied, once the identifiers are one's own. What may
 * be left out is only there when it narrows what is read: the condition, the
 * cursor, the dry run or the idempotency key of an example would make it fail, or
 * do nothing.
 * @param {Entry} entry @param {any} body
 */
function curlText(entry, body) {
  const params = (entry.op.parameters ?? []).map(deref);
  const path = entry.path.replace(/\{(\w+)\}/g, (all, name) => encodeURIComponent(params.find((/** @type {any} */ p) => p.in === "path" && p.name === name)?.example ?? all));
  const reads = entry.method === "get";
  const query = params.filter((/** @type {any} */ p) => p.in === "query" && p.example !== undefined && (p.required || reads && p.name !== "cursor"));
  const form = mediaOf(entry.op.requestBody).type;
  const asked = reads || query.length === 0 ? "" : `?${query.map((/** @type {any} */ p) => `${p.name}=${encodeURIComponent(p.example)}`).join("&")}`;
  const url = quote(location.origin + path + asked);
  const lines = reads && query.length === 0 ? [`curl ${url}`] : [reads ? "curl -G" : `curl -X ${entry.method.toUpperCase()}`, url];
  for (const key of Object.keys(entry.op.security?.[0] ?? {})) {
    const s = spec.components.securitySchemes[key];
    lines.push(s.type === "http" ? `-H "Authorization: Bearer $TOKEN"` : `-H "${s.name}: $${s.name.replace(/([a-z])([A-Z])/g, "$1_$2").replaceAll("-", "_").toUpperCase()}"`);
  }
  for (const p of params.filter((/** @type {any} */ p) => p.in === "header" && p.required && p.example !== undefined)) lines.push(`-H ${quote(`${p.name}: ${p.example}`)}`);
  if (reads) for (const p of query) lines.push(`--data-urlencode ${quote(`${p.name}=${p.example}`)}`);
  if (body === undefined || reads) return lines.join(" \\\n  ");
  if (form === "multipart/form-data") for (const [name, value] of Object.entries(body)) lines.push(`-F ${quote(`${name}=${String(value).replace(/^\(the bytes of (.+)\)$/, "@$1")}`)}`);
  else if (form === "application/x-www-form-urlencoded") for (const [name, value] of Object.entries(body)) lines.push(`--data-urlencode ${quote(`${name}=${value}`)}`);
  else lines.push("-H 'Content-Type: application/json'", `-d ${quote(show(body))}`);
  return lines.join(" \\\n  ");
}

/** @param {Entry} entry @param {any} body */
function httpText(entry, body) {
  const heads = (entry.op.parameters ?? []).map(deref).map((/** @type {any} */ p) => `${p.name}: ${p.example}`);
  return ["POST /your/endpoint", "Content-Type: application/json", ...heads, "", show(body)].join("\n");
}

/** For a shell: in single quotes. @param {string} text */
function quote(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** @param {any} value */
function show(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Cuts the JSON in a text, which begins a line or the data of curl, into coloured pieces. @param {string} text @returns {Node[]} */
function highlight(text) {
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(?<![\w.-])-?\d+(?:\.\d+)?(?![\w.-])/g;
  const out = [];
  let at = text.search(/^[{["]|(?<=-d ')[{[]/m);
  if (at < 0) return [document.createTextNode(text)];
  out.push(document.createTextNode(text.slice(0, at)));
  token.lastIndex = at;
  for (let m = token.exec(text); m; m = token.exec(text)) {
    out.push(document.createTextNode(text.slice(at, m.index)));
    const kind = m[2] ? "key" : m[1] ? "string" : m[3] ? "word" : "number";
    out.push(el("span", { class: `t-${kind}` }, m[1] ?? m[0]), document.createTextNode(m[2] ?? ""));
    at = token.lastIndex;
  }
  out.push(document.createTextNode(text.slice(at)));
  return out;
}

/** @param {HTMLElement} code @param {HTMLElement} button */
async function copyText(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    button.textContent = "Copied";
  } catch {
    // Without https there is no clipboard: mark the text, so that a key copies it.
    getSelection()?.selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
}

// --------------------------------------------------------------------- sidebar

/** @param {Group} group */
function indexGroup(group) {
  const links = group.entries.map((e) => {
    const words = `${e.method} ${e.path} ${e.op.summary} ${e.id} ${group.name}`.toLowerCase();
    return el("li", { "data-words": words }, el("a", { href: `#${e.id}`, title: e.path }, badge(e.method), el("span", {}, e.op.summary)));
  });
  return el("div", { class: "index-group" }, el("h2", {}, el("a", { href: `#${slug(group.name)}` }, group.name)), el("ul", {}, ...links));
}

function wireFilter() {
  const input = /** @type {HTMLInputElement} */ (byId("filter"));
  const items = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#index li")]);
  const shown = () => items.filter((li) => !li.hidden).map((li) => /** @type {HTMLElement} */ (li.firstElementChild));
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const li of items) li.hidden = !words.every((w) => li.dataset.words?.includes(w));
    for (const g of document.querySelectorAll(".index-group")) /** @type {HTMLElement} */ (g).hidden = !g.querySelector("li:not([hidden])");
    const n = shown().length;
    byId("found").textContent = words.length === 0 ? "" : n === 0 ? "Nothing found" : `${n} found`;
  };
  input.addEventListener("input", apply);
  input.addEventListener("keydown", (e) => {
    if (e.key === "Escape") { input.value = ""; apply(); }
    if (e.key === "Enter") shown()[0]?.click();
  });
  byId("sidebar").addEventListener("keydown", (e) => {
    const step = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
    if (step === 0) return;
    const stops = [input, ...shown()];
    const at = stops.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (at < 0) return;
    e.preventDefault();
    stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus();
  });
  document.addEventListener("keydown", (e) => {
    const typing = e.target instanceof HTMLElement && e.target.matches("input, select, textarea");
    if (e.key !== "/" || typing || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    setMenu(true);
    input.focus();
  });
}

function wireMenu() {
  byId("menu").addEventListener("click", () => setMenu(byId("menu").getAttribute("aria-expanded") !== "true"));
  byId("sidebar").addEventListener("click", (e) => {
    if (e.target instanceof Element && e.target.closest("a")) setMenu(false);
  });
}

/** The menu button is there on narrow screens only. @param {boolean} open */
function setMenu(open) {
  byId("menu").setAttribute("aria-expanded", String(open));
  byId("sidebar").classList.toggle("open", open);
}

/** Marks in the sidebar what is being read. */
function followReading() {
  const links = new Map([...document.querySelectorAll("#index li a")].map((a) => [a.getAttribute("href")?.slice(1), a]));
  const watch = new IntersectionObserver((seen) => {
    for (const s of seen) {
      const link = links.get(s.target.id);
      if (!link) continue;
      if (!s.isIntersecting) { link.removeAttribute("aria-current"); continue; }
      link.setAttribute("aria-current", "true");
      keepVisible(/** @type {HTMLElement} */ (link));
    }
  }, { rootMargin: "-20% 0px -79% 0px" });
  for (const op of document.querySelectorAll("article.op")) watch.observe(op);
}

/** Scrolls the sidebar alone; scrollIntoView would stop the page's own scrolling. @param {HTMLElement} link */
function keepVisible(link) {
  const bar = byId("sidebar");
  const [outer, inner] = [bar.getBoundingClientRect(), link.getBoundingClientRect()];
  if (inner.top < outer.top + 140) bar.scrollTop -= outer.top + 140 - inner.top;
  if (inner.bottom > outer.bottom - 40) bar.scrollTop += inner.bottom - outer.bottom + 40;
}

// --------------------------------------------------------------- small elements

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {string} name */
function slug(name) {
  return `group-${name.toLowerCase().replaceAll(" ", "-")}`;
}

/** @param {string} method */
function badge(method) {
  return el("span", { class: `badge m-${method}` }, method === "delete" ? "del" : method);
}

/** @param {string} title @param {...any} children */
function block(title, ...children) {
  return el("section", { class: "block" }, el("h4", {}, title), ...children);
}

/** A path that may wrap behind its slashes. @param {string} path @returns {Node[]} */
function breakable(path) {
  return path.split(/(?<=\/)/).flatMap((part) => [document.createTextNode(part), document.createElement("wbr")]);
}

/** Paragraphs, lists ("- ") and `code`: all that descriptions use. @param {string} text @returns {Node} */
function prose(text) {
  const out = document.createDocumentFragment();
  for (const part of text.trim().split(/\n\s*\n/)) {
    const lines = part.split("\n");
    const lead = lines.filter((l) => !l.startsWith("- "));
    const list = lines.filter((l) => l.startsWith("- "));
    if (lead.length) out.append(el("p", { class: list.length ? "heads" : null }, ...inline(lead.join(" "))));
    if (list.length) out.append(el("ul", {}, ...list.map((l) => el("li", {}, ...inline(l.slice(2))))));
  }
  return out;
}

/** @param {string} text @returns {Node[]} */
function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) => part.startsWith("`") && part.length > 2 ? el("code", {}, part.slice(1, -1)) : document.createTextNode(part));
}

/**
 * Makes an element. Strings become text; null, undefined and false are left out.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...any} children
 * @returns {HTMLElement}
 */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((c) => c != null && c !== false && c !== ""));
  return node;
}
