// One signal's story: who had it, for how long, and what was said of it.

import { cell, figures, make, write } from "./dom.js";
import { clock, fixed, many, words } from "./words.js";

const dialog = document.getElementById("trace-dialog");
const content = document.getElementById("trace-content");
let asked = 0;

/** Show the time line of a signal. */
export async function openTrace(id) {
  asked += 1;
  const mine = asked;
  write(document.getElementById("trace-title"), `Trace ${id}`);
  content.replaceChildren(make("p", { text: "Asking the node …", role: "status" }));
  if (!dialog.open) dialog.showModal();
  let told;
  try {
    const answer = await fetch(`/traces/${encodeURIComponent(id)}`, { cache: "no-store" });
    const body = await answer.json();
    told = body.trace_id ? tell(body) : [trouble(body.error ?? "The node does not tell of it.")];
  } catch {
    told = [trouble("The node does not answer. Try again when the connection is back.")];
  }
  if (mine === asked) content.replaceChildren(...told);
}

function trouble(text) {
  return make("p", { class: "error", text });
}

/** The story as elements, from what `/traces/{id}` gives. */
function tell(trace) {
  const list = make("dl", { class: "figures" });
  figures(
    list,
    [
      { term: "Symbol", value: trace.symbol },
      { term: "Outcome", value: words(trace.status ?? trace.state) },
      { term: "Accepted", value: trace.accepted_at ? clock(trace.accepted_at) : "" },
      { term: trace.ended_at ? "Took" : "So far", value: `${fixed(trace.total_ms, 1)} ms` },
      { term: "Sent", value: trace.attempts > 1 ? `${trace.attempts} times` : "" },
    ].filter((pair) => pair.value),
  );
  const told = [list];
  if (trace.reason) told.push(make("p", { text: trace.reason }));
  if (trace.state === "unknown") return [trouble("No signal with this trace id was ever accepted here.")];
  if (trace.where) told.push(make("p", { text: whereabouts(trace.where) }));
  if (trace.spans?.length) told.push(timeline(trace.spans));
  const lines = (rules) => (rules ?? []).map((each) => `${each.rule}: ${each.message}`);
  for (const [title, texts] of [
    ["What is wrong with its way", trace.continuity?.problems ?? []],
    ["Denied by", lines(trace.decision?.violations)],
    ["Warned by", lines(trace.decision?.warnings)],
    ["Disagreements of the agents", trace.audit?.disagreements ?? []],
    ["Asked of a person", trace.held ? [question(trace.held)] : []],
    [
      "Given up on",
      trace.letter
        ? [`${trace.letter.agent} ended ${many(trace.letter.strikes, "time")}: ${trace.letter.reason}`]
        : [],
    ],
    ["Order", order(trace.order)],
  ]) {
    if (texts.length)
      told.push(
        make(
          "section",
          {},
          make("h3", { text: title }),
          make("ul", {}, ...texts.map((text) => make("li", { text }))),
        ),
      );
  }
  return told;
}

function whereabouts(where) {
  const who = where.agent ? `It is with ${where.agent}` : "It is on its way";
  return `${who}: ${where.doing} for ${fixed(where.for_ms, 0)} ms${where.why ? `, ${where.why}` : ""}.`;
}

function question(held) {
  const answer = held.ruling ? `${held.by} ${held.ruling} it` : `nobody has answered; until ${clock(held.until)}`;
  return `${held.agent} asks: ${held.reason} (${answer})`;
}

function order(fields) {
  const known = Object.entries(fields ?? {}).filter(([, value]) => value !== null && value !== "");
  return known.map(([key, value]) => `${words(key)}: ${value}`);
}

function timeline(spans) {
  const begin = Math.min(...spans.map((span) => span.in_ns - span.wait_ms * 1e6));
  const length = Math.max(1, Math.max(...spans.map((span) => span.out_ns)) - begin);
  const share = (nanoseconds) => `${Math.max(0, (nanoseconds / length) * 100)}%`;
  const body = make("tbody", { role: "rowgroup" });
  for (const span of spans) {
    const row = [
      cell("Agent", "name", "th"),
      cell("Version", "version"),
      cell("Waited", "number"),
      cell("Had it for", "number"),
    ];
    row[0].textContent = span.agent;
    row[1].textContent = span.version;
    row[1].title = span.version;
    row[2].textContent = `${fixed(span.wait_ms, 3)} ms`;
    row[3].textContent = `${fixed(span.duration_ms, 3)} ms${span.recorded ? ", recorded" : ""}`;
    const wait = make("span", { class: "bar wait" });
    wait.style.marginInlineStart = share(span.in_ns - span.wait_ms * 1e6 - begin);
    wait.style.width = share(span.wait_ms * 1e6);
    const stay = make("span", { class: "bar" });
    stay.style.width = share(span.out_ns - span.in_ns);
    const line = make("td", { role: "cell", class: "line", "aria-hidden": "true" }, make("div", {}, wait, stay));
    body.append(make("tr", { role: "row" }, ...row, line));
  }
  const heads = [["Agent"], ["Version"], ["Waited", "number"], ["Had it for", "number"]].map(([text, kind = ""]) =>
    make("th", { role: "columnheader", scope: "col", class: kind, text }),
  );
  heads.push(make("td", { role: "cell", class: "line", "aria-hidden": "true" }));
  const caption = make("caption", {
    text: "Time line: how long each agent's mailbox held it, and how long the agent",
  });
  return make(
    "table",
    { role: "table", class: "cards timeline" },
    caption,
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
    body,
  );
}
