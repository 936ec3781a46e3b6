// The other parts of the page: what is wrong, outcomes, objectives, the account, what was seen.

import { cell, draw, figures, icon, keyed, make, show, write } from "./dom.js";
import { clock, count, fixed, milliseconds, newest, parts, percent, price, signed, span, words } from "./words.js";

const OUTCOME_SHAPES = {
  executed: "good",
  denied: "halted",
  no_setup: "stopped",
  held: "waiting",
  expired: "backoff",
  failed: "failed",
};
const LEVEL_SHAPES = {
  well: "good",
  note: "good",
  warning: "backoff",
  trouble: "failed",
  halted: "halted",
  lost: "lost",
  paused: "note",
  unknown: "unknown",
};
const SEVERITY_SHAPES = { emergency: "halted", critical: "failed", warning: "backoff", note: "note" };
const STATE_SHAPES = { met: "good", violated: "failed", unknown: "unknown" };

/** The answer to "is all well?": `{level, title, text}`. */
export function drawVerdict(verdict) {
  const section = document.getElementById("verdict");
  section.dataset.level = verdict.level;
  draw(section.querySelector("svg"), LEVEL_SHAPES[verdict.level]);
  write(section.querySelector("h2"), verdict.title);
  write(section.querySelector("#verdict-text"), verdict.text);
}

/**
 * What is wrong, and what to type.
 * @param {Array} problems From `words.problems`.
 * @param {function(Object): void} act Takes a problem's act.
 */
export function drawProblems(problems, operating, act, now) {
  show(document.getElementById("problems"), problems.length > 0);
  const isWrong = problems.some((problem) => problem.severity !== "note");
  write(document.getElementById("problems-title"), isWrong ? "What is wrong, and what to type" : "Good to know");
  keyed(
    document.querySelector("#problems ul"),
    problems,
    (problem) => problem.key,
    () => {
      const shape = icon("note");
      const part = {
        shape,
        severity: make("strong", { class: "severity" }),
        what: make("span", { class: "what" }),
        since: make("span", { class: "quiet" }),
        why: make("p", { class: "why" }),
        advice: make("ul", { class: "advice" }),
        act: make("button", { type: "button" }),
      };
      part.act.addEventListener("click", () => act(part.problem.act));
      const head = make("p", {}, shape, " ", part.severity, " ", part.what, " ", part.since);
      part.node = make("li", {}, head, part.why, part.advice, part.act);
      return part;
    },
    (part, problem) => {
      part.problem = problem;
      part.node.dataset.severity = problem.severity;
      draw(part.shape, SEVERITY_SHAPES[problem.severity] ?? "backoff");
      write(part.severity, problem.severity);
      write(part.what, problem.what);
      write(part.since, problem.since ? `since ${clock(problem.since, now)}` : "");
      write(part.why, problem.why);
      show(part.why, Boolean(problem.why));
      drawAdvice(part.advice, problem.advice);
      show(part.act, operating && Boolean(problem.act));
      write(part.act, problem.act?.label ?? "");
    },
  );
}

function drawAdvice(list, advice) {
  keyed(
    list,
    advice.filter(Boolean),
    (text) => text,
    (text) => {
      const node = make("li");
      for (const part of parts(text)) {
        if (part.command) node.append(command(part.command));
        else node.append(part.code ? make("code", { text: part.code }) : part.text);
      }
      return { node };
    },
    () => {},
  );
}

/** A command to type, with a button that copies it. */
function command(text) {
  const button = make("button", { type: "button", class: "copy", text: "Copy", "aria-label": `Copy: ${text}` });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot copy";
    }
    setTimeout(() => write(button, "Copy"), 2000);
  });
  return make("span", { class: "command" }, make("code", { text }), button);
}

/** The numbers over the tables. */
export function drawFigures(state) {
  const signals = state.signals ?? {};
  const series = state.series ?? {};
  const rate = newest(series.throughput);
  const account = state.portfolio;
  figures(document.querySelector("#figures dl"), [
    { term: "Accepted", value: count(signals.accepted) },
    { term: "In flight", value: count(signals.in_flight) },
    { term: "Completed", value: count(signals.completed) },
    { term: "Held", value: count(signals.held), kind: signals.held ? "warning" : "" },
    { term: "Dead letters", value: count(signals.dead_letters), kind: signals.dead_letters ? "critical" : "" },
    { term: "Outcomes a second", value: rate === null ? "–" : fixed(rate, 1) },
    { term: "Latency p95", value: milliseconds(newest(series.p95_ms)) },
    { term: "Equity", value: account ? `${fixed(account.equity)} ${account.currency ?? ""}`.trim() : "–" },
  ]);
}

/**
 * The newest outcomes.
 * @param {function(string): void} open Takes the trace id of the one that is to be told.
 */
export function drawOutcomes(outcomes, open, now) {
  const section = document.getElementById("outcomes");
  show(section.querySelector(".empty"), outcomes.length === 0);
  show(section.querySelector("table"), outcomes.length > 0);
  keyed(
    section.querySelector("tbody"),
    outcomes,
    (outcome) => outcome.trace_id,
    (outcome) => {
      const shape = icon("unknown");
      const row = {
        shape,
        at: cell("At", "at"),
        symbol: cell("Symbol", "name", "th"),
        status: make("span"),
        why: cell("Why", "why"),
        trace: make("button", { type: "button", class: "link" }),
      };
      const status = cell("Outcome", "state");
      status.append(shape, row.status);
      const last = cell("Trace", "trace");
      last.append(row.trace);
      row.trace.addEventListener("click", () => open(outcome.trace_id));
      row.node = make("tr", { role: "row" }, row.at, row.symbol, status, row.why, last);
      return row;
    },
    (row, outcome) => {
      row.node.dataset.status = outcome.status;
      draw(row.shape, OUTCOME_SHAPES[outcome.status] ?? "unknown");
      write(row.at, clock(outcome.at, now));
      write(row.symbol, outcome.symbol);
      write(row.status, words(outcome.status));
      const rules = outcome.rules ?? [];
      write(row.why, rules.length ? rules.join("; ") : outcome.reason);
      const id = String(outcome.trace_id);
      write(row.trace, id.slice(0, 8));
      row.trace.setAttribute("aria-label", `Trace ${id.slice(0, 8)}, ${outcome.symbol}`);
    },
  );
}

/** The service level objectives with their budgets. */
export function drawObjectives(slos) {
  const section = document.getElementById("objectives");
  show(section.querySelector(".empty"), slos.length === 0);
  show(section.querySelector("ul"), slos.length > 0);
  keyed(
    section.querySelector("ul"),
    slos,
    (slo) => slo.name,
    () => {
      const part = {
        shape: icon("unknown"),
        name: make("h3"),
        state: make("span", { class: "state" }),
        word: make("span"),
        now: make("p", { class: "quiet" }),
        meter: make("span", { class: "meter", "aria-hidden": "true" }),
        filled: make("span"),
        budget: make("p", { class: "budget" }),
        left: make("span"),
      };
      part.state.append(part.shape, part.word);
      part.meter.append(part.filled);
      part.budget.append(part.meter, part.left);
      part.node = make("li", {}, make("div", { class: "row" }, part.name, part.state), part.now, part.budget);
      return part;
    },
    (part, slo) => {
      part.node.dataset.state = slo.state;
      draw(part.shape, STATE_SHAPES[slo.state] ?? "unknown");
      write(part.name, words(slo.name));
      part.name.title = slo.description ?? "";
      write(part.word, slo.state);
      write(part.now, standing(slo));
      const left = slo.budget?.remaining;
      const known = Number.isFinite(left);
      show(part.budget, known);
      if (!known) return;
      part.filled.style.width = `${Math.max(0, Math.min(1, left)) * 100}%`;
      part.meter.classList.toggle("low", left < 0.25);
      const gone = left < 0 ? `overspent by ${percent(-left)}` : `${percent(left)} left`;
      write(part.left, `error budget: ${gone}, ${burning(slo.burn.rates)}`);
    },
  );
}

/** How many times faster than it may the budget is spent, in a short window and in a long one. */
function burning(rates) {
  const known = ["5m", "6h"].filter((name) => Number.isFinite(rates[name]));
  const told = known.map((name) => `${fixed(rates[name], 1)}× in ${name}`);
  return told.length ? `burns ${told.join(", ")}` : "nothing to burn it";
}

function standing(slo) {
  if (slo.state === "unknown") return "nothing happened in its window";
  if (slo.unit === "events") return slo.current_value ? `${count(slo.current_value)} bad` : "none bad";
  const events = slo.window ? ` of ${count(slo.window.good + slo.window.bad)}` : "";
  const share = Math.floor(slo.current_value * 1e4) / 1e4; // one bad event of a million is still not 100 %
  return `${percent(share, 2)}${events}, to be at least ${percent(slo.target, 1)}`;
}

/** The account, where an agent shows one. */
export function drawAccount(account) {
  const section = document.getElementById("account");
  const positions = account?.positions ?? [];
  const list = section.querySelector("dl");
  show(section.querySelector(".empty"), !account);
  show(list, Boolean(account));
  show(section.querySelector(".none"), Boolean(account) && positions.length === 0);
  show(section.querySelector("table"), positions.length > 0);
  if (account) {
    const unit = account.currency ?? "";
    const money = (value) => `${fixed(value)} ${unit}`.trim();
    figures(list, [
      { term: "Equity", value: money(account.equity) },
      { term: "Cash", value: money(account.cash) },
      { term: "Today", value: dayChange(account), kind: gain(account.day_change) },
      { term: "Drawdown", value: percent(account.drawdown) },
    ]);
  }
  keyed(
    section.querySelector("tbody"),
    positions,
    (position) => `${position.symbol} ${position.side}`,
    () => {
      const row = {
        symbol: cell("Symbol", "name", "th"),
        side: cell("Side"),
        quantity: cell("Quantity", "number"),
        entry: cell("Entry", "number"),
        price: cell("Price", "number"),
        value: cell("Value", "number"),
        profit: cell("Profit", "number"),
      };
      row.node = make(
        "tr",
        { role: "row" },
        row.symbol,
        row.side,
        row.quantity,
        row.entry,
        row.price,
        row.value,
        row.profit,
      );
      return row;
    },
    (row, position) => {
      write(row.symbol, position.symbol);
      write(row.side, position.side);
      write(row.quantity, position.quantity);
      write(row.entry, price(position.entry_price));
      write(row.price, price(position.price));
      write(row.value, fixed(position.value));
      write(row.profit, signed(position.profit));
      row.profit.className = `number ${gain(position.profit)}`;
    },
  );
}

function gain(value) {
  const number = Number(value);
  return number > 0 ? "good" : number < 0 ? "critical" : "";
}

function dayChange(account) {
  if (account.day_change === null || account.day_change === undefined) return "–";
  return `${signed(Number(account.day_change) * 100)} %`;
}

/** What was seen since the page was opened, the newest first: `{at, text}`. */
export function drawSeen(entries) {
  const section = document.getElementById("seen");
  show(section.querySelector(".empty"), entries.length === 0);
  show(section.querySelector("ol"), entries.length > 0);
  keyed(
    section.querySelector("ol"),
    entries,
    (entry) => entry.number,
    (entry) => ({ node: make("li", {}, make("time", { text: clock(entry.at / 1000) }), ` ${entry.text}`) }),
    () => {},
  );
}

/**
 * What only an operator has.
 * @param {Operator} operator
 * @param {boolean} isLive Whether the node is heard: otherwise nothing can be done.
 */
export function drawOperator(operator, isLive) {
  write(document.getElementById("operate"), operator.isOn ? `Stop operating as ${operator.name}` : "Operate");
  for (const node of document.querySelectorAll("p.operator-only, th.operator-only")) show(node, operator.isOn);
  const section = document.getElementById("held");
  show(section, operator.held.length > 0);
  keyed(
    section.querySelector("ul"),
    operator.held,
    (held) => held.trace_id,
    (held) => {
      const buttons = make("p", { class: "tools" });
      for (const [op, label] of [
        ["approve", "Approve"],
        ["refuse", "Refuse"],
      ]) {
        const name = `${label} ${held.symbol}, trace ${held.trace_id.slice(0, 8)}`;
        const button = make("button", { type: "button", text: label, "aria-label": name });
        button.addEventListener("click", () => operator.act({ op, trace_id: held.trace_id, symbol: held.symbol }));
        buttons.append(button);
      }
      const asked = `${held.agent} asks; without an answer until ${clock(held.until)} it is refused`;
      const lines = details(held.details).map((text) => make("li", { text }));
      return {
        node: make(
          "li",
          {},
          make("p", {}, make("strong", { text: held.symbol }), ` ${held.reason}`),
          make("p", { class: "quiet", text: `${asked}. Trace ${held.trace_id}` }),
          make("ul", {}, ...lines),
          buttons,
        ),
      };
    },
    () => {},
  );
  const only = ".operator-only button, .held button, .problems > li > button";
  for (const button of document.querySelectorAll(only)) button.disabled = !isLive;
}

/** What a person is to judge by: the figures of what is held, and the rules that complain. */
function details(held) {
  const figures = Object.entries(held ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
  const complaints = [...(held?.decision?.violations ?? []), ...(held?.decision?.warnings ?? [])];
  return [
    ...figures.map(([key, value]) => `${words(key)}: ${value}`),
    ...complaints.map((each) => `${each.rule}: ${each.message}`),
  ];
}

/** Which version of ARK speaks, and for how long it has run. */
export function drawNode(node) {
  write(document.getElementById("version"), node.version ? `${node.version}, up for ${span(node.uptime_s)}` : "");
}
