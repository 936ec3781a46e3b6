// The page: takes the node's documents as they come, and has each part drawn.

import { follow } from "./live.js";
import { drawCharts } from "./charts.js";
import { draw, show, swap, write } from "./dom.js";
import { Operator } from "./operate.js";
import * as panels from "./panels.js";
import { drawRollout } from "./rollout.js";
import { openTrace } from "./trace.js";
import { compare, drawTree } from "./tree.js";
import { changes, clock, problems, span, verdict } from "./words.js";

const SEEN = 12;
const ANNOUNCE_MS = 2_000;
const MOST_ANNOUNCED = 3;

let state = null;
let link = { live: false, since: null };
let paused = null;
let firstVersion = null;
let seen = [];
let number = 0;
let waitsForFrame = false;
let drawn = null;
const broken = new Set();
const unsaid = [];

const operator = new Operator({ changed: drawSoon, said: saySoon });

follow("/live", takeState, takeLink);
setInterval(drawSoon, 1000);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  drawn = null;
  drawSoon();
});
document.addEventListener("visibilitychange", drawSoon);
document.getElementById("pause").addEventListener("click", () => {
  paused = paused ? null : Date.now();
  drawSoon();
});
document.getElementById("operate").addEventListener("click", () => operator.open());
document.getElementById("halt").addEventListener("click", () => operator.act({ op: "halt" }));
document.getElementById("resume").addEventListener("click", () => operator.act({ op: "resume" }));

function takeState(fresh) {
  const before = state;
  state = fresh;
  firstVersion ??= fresh.node.version;
  if (before) {
    compare(before, fresh);
    note(changes(before, fresh));
  }
  operator.see(fresh);
  drawSoon();
}

function takeLink(now) {
  const before = link;
  link = now;
  if (before.live === now.live) return;
  if (now.live) note(before.since ? [`connected again after ${span((now.since - before.since) / 1000)}`] : []);
  else note(before.live ? [`connection lost; the last sign of life came at ${clock(now.since / 1000)}`] : []);
  drawSoon();
}

/** Keep what happened for the eye, and have it said to the ear, but never more than a few sentences at a time. */
function note(sentences) {
  const at = Date.now();
  for (const text of sentences) seen.unshift({ number: (number += 1), at, text });
  seen = seen.slice(0, SEEN);
  saySoon(...sentences);
}

function saySoon(...sentences) {
  if (!sentences.length) return;
  unsaid.push(...sentences);
  if (unsaid.length > sentences.length) return;
  setTimeout(() => {
    const waiting = unsaid.splice(0);
    const more = waiting.length - MOST_ANNOUNCED;
    const told = more > 0 ? [...waiting.slice(0, MOST_ANNOUNCED), `and ${more} more changes`] : waiting;
    write(document.getElementById("announcer"), `${told.join(". ")}.`);
  }, ANNOUNCE_MS / 4);
}

function drawSoon() {
  if (waitsForFrame) return;
  waitsForFrame = true;
  // A hidden tab gets no frames; its title must be right nevertheless.
  const later = document.hidden ? (does) => setTimeout(does, 0) : requestAnimationFrame;
  later(() => {
    waitsForFrame = false;
    drawAll();
  });
}

function drawAll() {
  const now = Date.now();
  drawLink(now);
  const found = state ? problems(state) : [];
  const judged = judge(found, now);
  panels.drawVerdict(judged);
  document.title = `${judged.title} – ARK`;
  panels.drawSeen(seen);
  if (state) drawState(found, now);
  panels.drawOperator(operator, link.live);
  drawNotice(now);
}

/** Draw what the document says, each part by itself: one that is not as it should be takes no other along. */
function drawState(found, now) {
  const { isOn } = operator;
  const act = (op, child) => operator.act({ op, agent: child.name });
  const moving = {
    node: () => panels.drawNode(state.node),
    figures: () => panels.drawFigures(state),
    outcomes: () => panels.drawOutcomes(state.outcomes, openTrace, now / 1000),
    account: () => panels.drawAccount(state.portfolio),
    lines: drawLines,
  };
  const parts = {
    problems: () => panels.drawProblems(found, isOn && link.live, (what) => operator.act(what), now / 1000),
    halt: () =>
      swap([
        [document.getElementById("halt"), isOn && !state.node.halted],
        [document.getElementById("resume"), isOn && state.node.halted],
      ]),
    processes: () => drawTree(state.children, isOn, act, now),
    rollout: () => drawRollout(state.rollout, (what) => operator.act(what), openTrace, now / 1000),
    objectives: () => panels.drawObjectives(state.slos),
    ...(paused ? {} : moving),
  };
  for (const [name, does] of Object.entries(parts)) {
    try {
      does();
      broken.delete(name);
    } catch (error) {
      if (!broken.has(name)) console.error(error);
      broken.add(name);
    }
  }
}

/** Draw the lines where they are seen and not drawn yet: it is the dearest part of the page. */
function drawLines() {
  if (!state.series || document.hidden || drawn === state.series) return;
  drawn = state.series;
  drawCharts(state.series, promisedLatency(state)).catch(console.error);
}

function judge(found, now) {
  if (!link.live && link.since) {
    return {
      level: "lost",
      title: `Connection lost since ${clock(link.since / 1000)}`,
      text:
        `For ${span((now - link.since) / 1000)} nothing has been heard from the node. What is shown below is of` +
        " then, not of now. In a terminal on its machine: supervisor status",
    };
  }
  if (!state) return { level: "unknown", title: "Waiting for the node", text: "No answer yet." };
  if (firstVersion !== state.node.version) {
    const text = `ARK ${state.node.version} runs now, and this page is of ${firstVersion}. Load it again.`;
    found.push({ key: "version", severity: "note", subject: "node", what: text, why: "", advice: [], act: null });
  }
  return verdict(state, found);
}

function drawLink(now) {
  const word = link.live ? "live" : link.since ? "lost" : "connecting";
  document.body.dataset.link = word;
  const node = document.getElementById("link");
  draw(node.querySelector("svg"), link.live ? "running" : link.since ? "lost" : "starting");
  const of = state ? `as of ${clock(state.node.at, now / 1000)}` : "";
  write(
    node.querySelector("span"),
    { live: `Live, ${of}`, lost: `Connection lost, ${of}`, connecting: "Connecting" }[word],
  );
}

/** Say what of the page itself is not as usual. */
function drawNotice(now) {
  document.body.classList.toggle("paused", Boolean(paused));
  write(document.getElementById("pause"), paused ? "Go on" : "Pause");
  const told = [];
  if (paused) {
    const since = clock(paused / 1000, now / 1000);
    told.push(`Figures, outcomes, lines and account stand still since ${since}. States and alerts go on.`);
  }
  if (broken.size) told.push(`What is shown here of ${[...broken].join(", ")} is not of now: it cannot be drawn.`);
  const said = document.getElementById("said");
  show(said, told.length > 0);
  write(said, told.join(" "));
}

/** The latency that is promised, milliseconds, for the line in the chart. */
function promisedLatency(from) {
  const promise = (from.slos ?? []).find((each) => each.name === "decision_latency");
  const limit = Number(/within ([\d.]+) ms/.exec(promise?.description)?.[1]);
  return Number.isFinite(limit) && limit > 0 ? limit : null;
}
