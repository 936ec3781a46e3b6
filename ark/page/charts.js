// Throughput and latency over time, drawn by Plotly, and the same as a table for who cannot see or draw lines.

import { cell, keyed, make, show, write } from "./dom.js";
import { clock, fixed, minutes, newest } from "./words.js";

const FEWEST_S = 60;
const OPTIONS = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false, showTips: false };

const loaded = new Promise((resolve) => {
  if (document.readyState === "complete") resolve();
  else window.addEventListener("load", resolve, { once: true });
});

/** Plotly, once it is here; null where it cannot be had. It is large, so nothing else waits for it. */
async function plotly() {
  if (!window.Plotly) await loaded;
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // it measures texts there
  return window.Plotly ?? null;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout([first, last], limit) {
  const isShort = last - first < 150;
  const axis = {
    gridcolor: colour("line"),
    linecolor: colour("line"),
    zeroline: false,
    fixedrange: true,
    tickfont: { color: colour("muted"), size: 11 },
  };
  const shapes = limit
    ? [
        {
          type: "line",
          xref: "paper",
          x0: 0,
          x1: 1,
          y0: limit,
          y1: limit,
          line: { color: colour("warning"), width: 1, dash: "dash" },
        },
      ]
    : [];
  return {
    autosize: true,
    margin: { l: 42, r: 8, t: 6, b: 24 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "inherit", color: colour("text") },
    showlegend: false,
    dragmode: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { color: colour("text") } },
    xaxis: {
      ...axis,
      type: "date",
      range: moments([first, last]),
      tickformat: isShort ? "%H:%M:%S" : "%H:%M",
      nticks: 6,
      hoverformat: "%H:%M:%S",
    },
    yaxis: { ...axis, rangemode: "tozero", nticks: 4 },
    shapes,
  };
}

/** The moments as Plotly wants them, which knows no time zones: local time as text. */
function moments(at) {
  return at.map((second) => {
    const local = new Date(second * 1000);
    return new Date(local.getTime() - local.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  });
}

function line(name, x, y, ink, dash = "solid", fill = "none") {
  return {
    name,
    x,
    y,
    type: "scatter",
    mode: "lines",
    connectgaps: false,
    line: { color: ink, width: 1.6, dash, shape: "linear" },
    fill,
    fillcolor: fill === "none" ? undefined : colour("fill"),
    hovertemplate: "%{y:.4~g}",
  };
}

/**
 * Draw both charts and their table.
 * @param {Object} series Points a second: `at`, `throughput`, `p50_ms`, `p95_ms`.
 * @param {number|null} limit The latency that is promised, milliseconds.
 */
export async function drawCharts(series, limit) {
  drawTable(series);
  const rate = newest(series.throughput);
  const slow = newest(series.p95_ms);
  const most = Math.max(0, ...series.throughput.filter(Number.isFinite));
  const worst = Math.max(0, ...series.p95_ms.filter(Number.isFinite));
  const now = rate === null ? "nothing" : `${fixed(rate, 1)} outcomes a second`;
  describe("throughput", `Throughput over the last five minutes: now ${now}, at most ${fixed(most, 1)}.`);
  const lately = slow === null ? "unknown, as nothing ended" : `${fixed(slow, 1)} milliseconds`;
  describe("latency", `Latency over the last five minutes: p95 now ${lately}, at worst ${fixed(worst, 1)}.`);
  if (document.hidden) return;
  const drawer = await plotly();
  show(document.getElementById("no-charts"), !drawer);
  for (const each of document.querySelectorAll(".chart")) show(each, Boolean(drawer));
  if (!drawer) return;
  const x = moments(series.at);
  const last = series.at.at(-1) ?? Date.now() / 1000;
  const range = [Math.min(series.at[0] ?? last, last - FEWEST_S), last];
  const near = limit && worst > limit / 3 ? limit : null;
  await drawer.react(
    "throughput",
    [line("outcomes/s", x, series.throughput, colour("accent"), "solid", "tozeroy")],
    layout(range, null),
    OPTIONS,
  );
  await drawer.react(
    "latency",
    [line("p50", x, series.p50_ms, colour("accent")), line("p95", x, series.p95_ms, colour("second"), "dot")],
    layout(range, near),
    OPTIONS,
  );
}

function describe(id, text) {
  const node = document.getElementById(id).parentElement;
  if (node.getAttribute("aria-label") !== text) node.setAttribute("aria-label", text);
}

function drawTable(series) {
  keyed(
    document.querySelector("#charts tbody"),
    minutes(series),
    (minute) => minute.from,
    () => {
      const row = {
        from: cell("Minute", "", "th"),
        rate: cell("Outcomes/s", "number"),
        middle: cell("p50, ms", "number"),
        slow: cell("Worst p95, ms", "number"),
      };
      row.node = make("tr", { role: "row" }, row.from, row.rate, row.middle, row.slow);
      return row;
    },
    (row, minute) => {
      write(row.from, clock(minute.from).slice(0, -3));
      write(row.rate, fixed(minute.rate, 1));
      write(row.middle, fixed(minute.p50, 1));
      write(row.slow, fixed(minute.p95, 1));
    },
  );
}
