// The processes of the node: one row each, parents before children.

import { cell, draw, icon, keyed, make, show, swap, write } from "./dom.js";
import { count, span } from "./words.js";

const REPLACED_MS = 30_000;
const replaced = new Map();

/** Remember which processes were replaced just now. */
export function compare(before, after, now = Date.now()) {
  const known = new Map((before?.children ?? []).map((child) => [child.name, child]));
  for (const child of after.children ?? []) {
    const was = known.get(child.name);
    if (was && (child.restarts > was.restarts || (was.pid && child.pid && was.pid !== child.pid))) {
      replaced.set(child.name, now);
    }
  }
}

/**
 * Draw the rows.
 * @param {Array} children As in a status.
 * @param {boolean} operating Whether there is an operator.
 * @param {function(string, Object): void} act Takes the operation and the child.
 */
export function drawTree(children, operating, act, now = Date.now()) {
  const body = document.querySelector("#processes tbody");
  const depths = new Map();
  for (const child of children) depths.set(child.name, child.parent ? (depths.get(child.parent) ?? 0) + 1 : 0);
  keyed(
    body,
    children,
    (child) => child.name,
    (child) => makeRow(child, act),
    (row, child) => {
      row.child = child;
      row.node.dataset.state = child.state;
      row.name.dataset.depth = Math.min(depths.get(child.name), 4);
      draw(row.shape, child.state);
      write(row.state, child.state);
      write(row.pid, child.pid ?? "–");
      write(row.version, child.version);
      row.version.title = child.version;
      write(row.restarts, count(child.restarts));
      const moment = replaced.get(child.name);
      const isFresh = moment !== undefined && now - moment < REPLACED_MS;
      row.node.classList.toggle("fresh", isFresh);
      write(row.up, span(child.uptime_s));
      write(row.beat, span(child.heartbeat_age_s));
      write(row.mailbox, child.mailbox_depth === null ? "–" : count(child.mailbox_depth));
      const why = [child.concern, child.reason].filter(Boolean).join("; ");
      write(row.why, why || (isFresh ? "replaced just now" : ""));
      drawButtons(row, operating);
    },
  );
}

function makeRow(child, act) {
  const shape = icon(child.state);
  const state = make("span");
  const row = {
    child,
    shape,
    state,
    name: cell("Process", "name", "th"),
    pid: cell("PID", "number"),
    version: cell("Version", "version"),
    restarts: cell("Restarts", "number"),
    up: cell("Up for", "number"),
    beat: cell("Last beat", "number"),
    mailbox: cell("Mailbox", "number"),
    why: cell("Reason", "why"),
    act: cell("Do", "operator-only"),
    buttons: make("div", { class: "tools" }),
  };
  row.name.textContent = child.name;
  const stateCell = cell("State", "state");
  stateCell.append(shape, state);
  row.operations = Object.fromEntries(
    ["isolate", "release", "restart"].map((op) => {
      const label = op[0].toUpperCase() + op.slice(1);
      const button = make("button", { type: "button", text: label, "aria-label": `${label} ${child.name}` });
      button.addEventListener("click", () => act(op, row.child));
      row.buttons.append(button);
      return [op, button];
    }),
  );
  row.act.append(row.buttons);
  row.node = make("tr", { role: "row" }, row.name, stateCell);
  row.node.append(row.pid, row.version, row.restarts, row.up, row.beat, row.mailbox, row.why, row.act);
  return row;
}

function drawButtons(row, operating) {
  show(row.act, operating);
  const { kind, state } = row.child;
  const wanted = {
    isolate: operating && kind === "agent" && state !== "isolated",
    release: operating && state === "isolated",
    restart: operating && kind !== "supervisor" && state === "running",
  };
  swap(Object.entries(row.operations).map(([op, button]) => [button, wanted[op]]));
}
