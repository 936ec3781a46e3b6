// Building the page, out of text alone: nothing that a node says is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

// Each shape is one path in a box of 16 by 16, so that no state is told by its colour alone.
const SHAPES = {
  running: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
  starting: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2v8a4 4 0 0 1 0-8z",
  isolated: "M2 2h12v12H2zM4.5 7v2h7V7z",
  backoff: "M8 1.5 15 14H1zM7.2 6v4h1.6V6zm0 5v1.6h1.6V11z",
  stopped: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
  failed: "M3.6 2 8 6.4 12.4 2 14 3.6 9.6 8l4.4 4.4-1.6 1.6L8 9.6 3.6 14 2 12.4 6.4 8 2 3.6z",
  good: "M6.4 13.2 1.6 8.4l1.9-1.9 2.9 2.9 6.1-6.6 2 1.8z",
  halted: "M5 1h6l4 4v6l-4 4H5l-4-4V5zM4.5 7v2h7V7z",
  waiting: "M3 1h10v2.5L9.5 8l3.5 4.5V15H3v-2.5L6.5 8 3 3.5z",
  unknown: "M2 7h3v2H2zm4.5 0h3v2h-3zM11 7h3v2h-3z",
  note: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-.9 3h1.8v1.8H7.1zm0 3h1.8v5H7.1z",
  lost: "M3 1.6 14.4 13 13 14.4 1.6 3zM2 6.5 3.4 8 8 12.6 9.4 11.2 4.8 6.6zM8 3a10 10 0 0 1 7 2.9l-1.4 1.4A8 8 0 0 0 9 5z",
};

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} attributes `class`, `text`, `on` (handlers by event), `hidden`, and plain attributes.
 * @param {...(Node|string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [kind, does] of Object.entries(value)) node.addEventListener(kind, does);
    else if (name === "hidden") node.hidden = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Make a picture of a state, which assistive technology passes over: the word stands beside it. */
export function icon(shape) {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("class", "icon");
  node.setAttribute("aria-hidden", "true");
  draw(node, shape);
  return node;
}

/** Put a shape into a picture. */
export function draw(node, shape) {
  const known = SHAPES[shape] ? shape : "unknown";
  if (node.dataset.shape === known) return;
  node.dataset.shape = known;
  node.setAttribute("viewBox", "0 0 16 16");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[known]);
  path.setAttribute("fill-rule", "evenodd");
  node.replaceChildren(path);
}

/** Set a text, and touch nothing where it is the same: what does not change must not be read out again. */
export function write(node, text) {
  const wanted = text ?? "";
  if (node.textContent !== String(wanted)) node.textContent = wanted;
}

/** Show or hide. */
export function show(node, visible) {
  if (node.hidden !== visible) return;
  const focused = node.contains(document.activeElement);
  node.hidden = !visible;
  if (focused) focusNear(node);
}

/** Show some and hide others: pairs of an element and whether it is visible. What comes, comes before what goes. */
export function swap(pairs) {
  for (const [node, visible] of pairs) if (visible) show(node, true);
  for (const [node, visible] of pairs) if (!visible) show(node, false);
}

/** Have who was there with the keyboard go on beside what is gone, and not at the top of the page. */
export function focusNear(node, parent = node.parentElement) {
  const beside = parent?.querySelector(":scope > button:not([hidden])");
  (beside ?? parent?.closest("section")?.querySelector("h2"))?.focus();
}

/** A cell of a table; its label stands before it where the table is shown as cards. */
export function cell(label, kind = "", tag = "td") {
  const role = tag === "th" ? "rowheader" : "cell";
  const node = make(tag, { role, "data-label": label });
  if (tag === "th") node.scope = "row";
  if (kind) node.className = kind;
  return node;
}

const lists = new WeakMap();

/**
 * Make the children of an element those of a list, keeping each child as long as its item is there.
 * @param {Element} parent
 * @param {Array} items
 * @param {function(Object): string} keyOf
 * @param {function(Object): {node: Element}} create Makes a part for a new item.
 * @param {function(Object, Object)} update Takes a part and its item.
 */
export function keyed(parent, items, keyOf, create, update) {
  if (!lists.has(parent)) lists.set(parent, new Map());
  const parts = lists.get(parent);
  const seen = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    let key = String(keyOf(item));
    while (seen.has(key)) key += "'";
    seen.add(key);
    if (!parts.has(key)) parts.set(key, create(item));
    const part = parts.get(key);
    update(part, item);
    if (part.node === place) place = place.nextElementSibling;
    else parent.insertBefore(part.node, place);
  }
  for (const [key, part] of parts) {
    if (seen.has(key)) continue;
    parts.delete(key);
    const focused = part.node.contains(document.activeElement);
    part.node.remove();
    if (focused) focusNear(part.node, parent);
  }
}

/** Fill a list of figures: pairs of a term and its value. */
export function figures(list, pairs) {
  keyed(
    list,
    pairs,
    (pair) => pair.term,
    (pair) => {
      const value = make("dd");
      return { node: make("div", {}, make("dt", { text: pair.term }), value), value };
    },
    (part, pair) => {
      write(part.value, pair.value);
      part.value.className = pair.kind ?? "";
    },
  );
}
