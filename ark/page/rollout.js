// A rollout: both versions side by side, the evidence against what it takes, and what an operator may do about it.

import { cell, figures, keyed, make, show, swap, write } from "./dom.js";
import { clock, count, percent, rolloutSays, span, words } from "./words.js";

const ARMS = ["canary", "baseline", "stable"];
const COUNTS = [
  ["trials", "decided"],
  ["signals", "outcomes"],
  ["denied", "denied"],
  ["failed", "failed"],
  ["late", "late"],
  ["slow", "slow"],
  ["broken", "no usable answer"],
];
const METRICS = {
  "pairs.different": "decided differently",
  "pairs.denied": "denied by one of them only",
  "pairs.slow": "slow at one of them only",
  "pairs.broken": "no usable answer from one of them only",
  "counts.denied": "denied",
  "counts.failed": "failed",
  "counts.late": "late",
  "counts.slow": "slow",
  "counts.broken": "no usable answer",
  "guard.share": "counted where they do not belong",
};
const PAUSABLE = new Set(["shadow", "baseline", "stage", "bake"]);
const STOPPED = new Set(["paused", "inconclusive"]);

/**
 * Draw it; null hides the part.
 * @param {function(Object): void} act Takes what is to be done: `{op, rollout}`.
 * @param {function(string): void} open Takes the trace id of a signal that is to be told.
 * @param {number} now Seconds since the epoch.
 */
export function drawRollout(rollout, act, open, now) {
  const section = document.getElementById("rollout");
  show(section, Boolean(rollout));
  if (!rollout) return;
  const said = rolloutSays(rollout);
  const part = (name) => section.querySelector(name);
  section.dataset.level = said.level;
  write(part("h2"), said.title);
  write(part(".what"), `${said.what}. Rollout ${rollout.id}, by ${rollout.by || "nobody"}`);
  write(part(".why"), said.why);
  show(part(".why"), Boolean(said.why));
  keyed(
    part(".holds"),
    said.holds,
    (text) => text,
    (text) => ({ node: make("li", { text }) }),
    () => {},
  );
  figures(part("dl"), standing(rollout, now));
  drawArms(part("table"), rollout.arms ?? {});
  drawEvidence(section, rollout.verdict?.metrics ?? []);
  drawExample(part(".example"), rollout.verdict?.counterexample, open);
  drawButtons(part(".tools"), rollout, act);
}

function standing(rollout, now) {
  const over = rollout.is_over;
  const wait = rollout.expected_s ? `about ${span(rollout.expected_s)}` : "not to be told";
  return [
    { term: "Canary’s share", value: percent(rollout.canary_share, 0) },
    { term: "Baseline’s share", value: percent(rollout.baseline_share, 0) },
    { term: "Seen in this step", value: over ? "–" : count(rollout.signals) },
    { term: "To a verdict", value: over || !rollout.verdict ? "–" : wait },
    { term: "Since", value: clock(rollout.since, now) },
    { term: "At the latest", value: rollout.deadline && !over ? clock(rollout.deadline, now) : "–" },
    ...(Number.isFinite(rollout.to_zero_s)
      ? [{ term: "Back within", value: `${rollout.to_zero_s.toFixed(2)} s`, kind: "good" }]
      : []),
  ];
}

function drawArms(table, arms) {
  const rows = Object.entries(arms).flatMap(([role, own]) =>
    COUNTS.map(([name, label]) => ({
      key: `${role} ${name}`,
      label: `${role}: ${label}`,
      values: ARMS.map((arm) => own[arm]?.[name]),
    })),
  );
  show(table, rows.length > 0);
  keyed(
    table.querySelector("tbody"),
    rows,
    (row) => row.key,
    () => {
      const name = cell("Of both", "", "th");
      const values = ARMS.map((arm) => cell(words(arm), "number"));
      return { node: make("tr", { role: "row" }, name, ...values), name, values };
    },
    (part, row) => {
      write(part.name, row.label);
      row.values.forEach((value, index) => write(part.values[index], count(value)));
    },
  );
}

/** For each metric that decides something: how much there is of the evidence that it takes, for either side. */
function drawEvidence(section, metrics) {
  const deciding = metrics.filter((metric) => (weighsHarm(metric) || metric.must_pass) && metric.n > 0);
  show(section.querySelector("h3"), deciding.length > 0);
  keyed(
    section.querySelector(".evidence"),
    deciding,
    (metric) => `${metric.role} ${metric.name}`,
    () => {
      const part = { name: make("p"), harm: side("low"), health: side("") };
      part.node = make("li", {}, part.name, part.harm.node, part.health.node);
      return part;
    },
    (part, metric) => {
      write(part.name, `${metric.role}: ${METRICS[metric.name] ?? metric.name}`);
      part.name.title = metric.why ?? "";
      drawSide(part.harm, weighsHarm(metric), metric.harm, metric.harm_at, "that it is worse");
      drawSide(part.health, metric.must_pass, metric.health, metric.health_at, "that it is as good");
    },
  );
}

/** Whether evidence of harm decides anything: it rolls back, or holds. */
function weighsHarm(metric) {
  return metric.can_fail || metric.can_hold;
}

function side(kind) {
  const filled = make("span");
  const meter = make("span", { class: `meter ${kind}`.trim(), "aria-hidden": "true" }, filled);
  const text = make("span", { class: "quiet" });
  return { node: make("p", {}, meter, text), filled, text };
}

function drawSide(part, decides, value, threshold, what) {
  const known = decides && Number.isFinite(value) && threshold > 0;
  show(part.node, Boolean(known));
  if (!known) return;
  const share = Math.max(0, Math.min(1, value / threshold));
  part.filled.style.width = `${share * 100}%`;
  write(part.text, `${percent(share, 0)} of the evidence ${what}`);
}

function drawExample(node, example, open) {
  show(node, Boolean(example));
  if (!example) return;
  const values = `${example.path}: ${example.canary} from the canary, ${example.baseline} from the baseline`;
  write(node.querySelector("span"), `${example.role} decided ${example.symbol} differently. ${values}`);
  const button = node.querySelector("button");
  button.onclick = () => open(example.trace_id);
  button.setAttribute("aria-label", `Trace ${String(example.trace_id).slice(0, 8)}, ${example.symbol}`);
}

function drawButtons(tools, rollout, act) {
  const { state } = rollout;
  const waits = (rollout.holds ?? []).some((text) => String(text).includes("approval"));
  const offered = {
    pause: PAUSABLE.has(state),
    resume: STOPPED.has(state),
    approve: waits,
    promote: PAUSABLE.has(state) || state === "inconclusive",
    abort: !rollout.is_over && state !== "aborting",
  };
  const buttons = [...tools.querySelectorAll("button")];
  for (const button of buttons) {
    button.onclick = () => act({ op: `deploy.${button.dataset.word}`, rollout: rollout.id });
  }
  swap(buttons.map((button) => [button, Boolean(offered[button.dataset.word])]));
}
