// What the page says, as functions of what the node says. No element is touched here.

const TIME = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

/** A time of day, with the day where it is another one. `at` is in seconds since the epoch. */
export function clock(at, now = Date.now() / 1000) {
  if (!Number.isFinite(at)) return NONE;
  const then = new Date(at * 1000);
  const today = DAY.format(then) === DAY.format(new Date(now * 1000));
  return today ? TIME.format(then) : `${DAY.format(then)} ${TIME.format(then)}`;
}

/** A length of time in words, of seconds. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const whole = Math.max(0, seconds);
  if (whole < 10) return `${whole.toFixed(1)} s`;
  if (whole < 60) return `${Math.floor(whole)} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${Math.floor(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** A count with its thousands apart. */
export function count(value) {
  return value === null || value === undefined ? NONE : WHOLE.format(value);
}

/** A number with so many digits behind the point; text that is a number, too. */
export function fixed(value, digits = 2) {
  if (value === null || value === undefined || value === "") return NONE;
  const number = Number(value);
  if (!Number.isFinite(number)) return String(value);
  return number.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A price, with more digits where it is small. */
export function price(value) {
  const number = Math.abs(Number(value));
  return fixed(value, number >= 1 || !number ? 2 : 6);
}

/** A number with its sign, which a gain has, too. */
export function signed(value, digits = 2) {
  const text = fixed(value, digits);
  return Number(value) > 0 ? `+${text}` : text.replace("-", "−");
}

/** A share as per cent. */
export function percent(share, digits = 1) {
  return share === null || share === undefined ? NONE : `${fixed(Number(share) * 100, digits)} %`;
}

/** A few milliseconds, with as many digits as say something. */
export function milliseconds(value) {
  if (value === null || value === undefined) return NONE;
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** A word with its number: `1 signal`, `2 signals`. */
export function many(number, word, plural = `${word}s`) {
  return `${count(number)} ${number === 1 ? word : plural}`;
}

/** A name of the node's as people write it: without its underscores. */
export function words(name) {
  return String(name ?? "")
    .replaceAll("_", " ")
    .replace(/\bhrm\b/, "HRM");
}

const TYPED = /`([^`]+)`|\b((?:supervisor|ark-run) [a-z-]+(?: [^;,.()]+)?)/g;

/** Split a text into what is read and what is typed: `{text}`, `{code}` and `{command}`. */
export function parts(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(TYPED)) {
    const typed = (match[1] ?? match[2]).trim();
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push(/^(supervisor|ark-run) /.test(typed) ? { command: typed } : { code: typed });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

const ORDER = ["emergency", "critical", "warning", "note"];
// Faults that the document itself shows, and at once; the Watchdog's alerts of them come after his next look.
const TOLD_BETTER = new Set(["halted", "isolated", "dead_letter"]);

/**
 * Everything that is wrong or waits for somebody, the worst first.
 *
 * What can be seen in the tree is said at once; the Watchdog's alerts, which follow at its next look, add the rest.
 * @returns {Array<{key, severity, subject, what, why, since, advice, act}>} `severity` `note` is no fault.
 */
export function problems(state) {
  const found = [];
  const alerts = state.alerts ?? [];
  const told = (name, fault) => alerts.find((each) => each.name === name && each.fault === fault);
  const add = (key, severity, subject, what, rest = {}) => {
    found.push({ key, severity, subject, what, why: "", since: null, advice: [], act: null, ...rest });
  };
  const node = state.node ?? {};
  if (node.halted) {
    const broken = told("node", "seal");
    const since = told("node", "halted")?.since;
    add("halted", broken ? "emergency" : "critical", "node", "Trading is halted. What would trade is denied.", {
      why: node.halt_reason ?? "",
      since,
      advice: ["supervisor doctor", 'ark-run resume --reason "why it is safe again"'],
      act: { op: "resume", label: "Resume trading" },
    });
  }
  for (const child of state.children ?? []) {
    const name = child.name;
    const rest = { why: child.reason ?? "", since: told(name, "isolated")?.since ?? told(name, "down")?.since };
    if (child.state === "isolated") {
      add(`child ${name}`, "critical", name, `${name} is isolated. Its signals wait before it; none is lost.`, {
        ...rest,
        advice: [`supervisor doctor ${name}`, `supervisor release ${name} --reason "what was mended"`],
        act: { op: "release", agent: name, label: `Release ${name}` },
      });
    } else if (child.state === "stopped") {
      add(`child ${name}`, "warning", name, `${name} is stopped, and does no work until it is started.`, {
        ...rest,
        advice: [`supervisor start ${name}`],
      });
    } else if (child.state === "failed") {
      add(`child ${name}`, "critical", name, `${name} has failed and is not started again.`, {
        ...rest,
        advice: [`supervisor doctor ${name}`],
      });
    } else if (child.state === "backoff") {
      add(`child ${name}`, "warning", name, `${name} is down; its next start waits a moment.`, {
        ...rest,
        advice: [`supervisor doctor ${name}`],
      });
    } else if (child.state === "starting") {
      add(`child ${name}`, "warning", name, `${name} is starting.`, { ...rest, advice: ["supervisor events"] });
    } else if (child.state === "running" && child.reason?.startsWith("storage")) {
      add(`child ${name}`, "critical", name, `${name} waits for its file.`, {
        ...rest,
        advice: [`supervisor doctor ${name}`],
      });
    }
    if (child.concern) {
      add(`concern ${name}`, "warning", name, `${name} is kept from its work.`, {
        why: child.concern,
        advice: [`supervisor doctor ${name}`],
      });
    }
  }
  const letters = state.signals?.dead_letters;
  if (letters) {
    const what = `${many(letters, "dead letter")}: nobody has dealt with ${letters === 1 ? "it" : "them"} yet.`;
    add("letters", "critical", "node", what, {
      since: told("node", "dead_letter")?.since,
      advice: ["ark-run dead-letters list"],
    });
  }
  for (const alert of alerts) {
    if (TOLD_BETTER.has(alert.fault)) continue;
    add(
      `alert ${alert.fault} ${alert.name}`,
      alert.severity,
      alert.name,
      `${words(alert.fault)}: ${alert.reason}`,
      {
        why: alert.count > 1 ? `It came ${alert.count} times.` : "",
        since: alert.since,
        advice: [alert.advice],
      },
    );
  }
  for (const each of state.slos ?? []) {
    const firing = (each.burn?.alerts ?? []).filter((one) => one.firing);
    if (each.state !== "violated" && !firing.length) continue;
    const page = firing.some((one) => one.severity === "page");
    const what = each.state === "violated" ? "is violated" : "spends its budget too fast";
    add(
      `slo ${each.name}`,
      page || each.invariant ? "critical" : "warning",
      each.name,
      `The objective ${words(each.name)} ${what}.`,
      {
        why: each.description ?? "",
        advice: each.runbook ? [each.runbook] : [],
      },
    );
  }
  if (state.rollout) {
    const said = rolloutSays(state.rollout);
    const paused = state.rollout.state === "paused" || state.rollout.state === "aborting";
    if (said.stopped || state.rollout.state === "rolled_back") {
      const severity = said.stopped && !paused ? "warning" : "note";
      add("rollout", severity, "rollout", `${said.title}.`, { why: said.why, advice: ["ark-run deploy explain"] });
    }
  }
  const held = state.signals?.held;
  if (held) {
    const what = `${many(held, "decision waits", "decisions wait")} for a person.`;
    add("held", "note", "node", what, { advice: ["ark-run held"] });
  }
  return found.sort((one, other) => rank(one) - rank(other));
}

function rank(problem) {
  const place = ORDER.indexOf(problem.severity);
  return place < 0 ? ORDER.indexOf("warning") : place;
}

/** What an operator is to see in one glance: `{level, title, text}`; levels are well, note, trouble, halted. */
export function verdict(state, found = problems(state)) {
  const wrong = found.filter((each) => each.severity !== "note");
  const children = state.children ?? [];
  const running = children.filter((child) => child.state === "running").length;
  const processes = `${running} of ${many(children.length, "process", "processes")} run`;
  const node = state.node ?? {};
  if (node.halted) {
    return { level: "halted", title: "Trading is halted", text: `${node.halt_reason ?? ""}`.trim() || processes };
  }
  if (wrong.length) {
    const worst = wrong[0];
    const title = wrong.length === 1 ? "One thing is wrong" : `${wrong.length} things are wrong`;
    return {
      level: worst.severity === "warning" ? "warning" : "trouble",
      title,
      text: `${worst.what} ${processes}.`,
    };
  }
  if (!node.ready)
    return { level: "warning", title: "Not ready", text: `${processes}; the front door does not accept yet.` };
  const waits = found.length ? ` ${found.map((each) => each.what).join(" ")}` : "";
  return {
    level: found.length ? "note" : "well",
    title: "All is well",
    text: `${processes}. Trading is on.${waits}`,
  };
}

/** What a rollout is and how it stands, in words: `{title, what, why, holds, level}`. */
export function rolloutSays(rollout) {
  const over = Boolean(rollout.is_over);
  const verdict = rollout.verdict ?? null;
  const held = !over && Boolean(verdict?.hold || verdict?.answer === "invalid");
  const short = (digest) => String(digest || "").slice(0, 12) || "the installed package";
  const stable = rollout.stable ?? {};
  const moves = Object.entries(rollout.roles ?? {}).map(
    ([role, digest]) => `${role} from ${short(stable[role])} to ${short(digest)}`,
  );
  const here = rollout.under || rollout.state;
  const share = here === "stage" && !over ? `, ${rollout.share} %` : "";
  const within = rollout.under ? ` in ${words(rollout.under)}` : "";
  const isLed = over || rollout.lease_s === undefined || rollout.lease_s > 0;
  const stopped = !over && (held || !isLed || ["paused", "inconclusive", "aborting"].includes(rollout.state));
  let why = "";
  if (!isLed) why = "Nobody leads it: the deploy actor does not run, and each agent decides by itself.";
  else if (over || rollout.under || rollout.state === "aborting") why = rollout.last?.why ?? "";
  else if (verdict) why = `${words(verdict.answer)}: ${verdict.why}`;
  // That there is no verdict yet, and why, is said already.
  const holds = over ? [] : (rollout.holds ?? []).filter((text) => !String(text).startsWith("no verdict yet"));
  const good = rollout.state === "permanent" || rollout.state === "passed";
  const level = stopped || rollout.state === "rolled_back" ? "warning" : good ? "well" : "note";
  return {
    title: `Rollout: ${words(rollout.state)}${within}${share}`,
    what: `${words(rollout.strategy)}: ${moves.join(", ")}`,
    why,
    holds,
    level,
    stopped,
  };
}

/** What has changed from one document to the next, in sentences for people; heartbeats and counts are no news. */
export function changes(before, after) {
  const told = [];
  const old = new Map((before.children ?? []).map((child) => [child.name, child]));
  for (const child of after.children ?? []) {
    const was = old.get(child.name);
    old.delete(child.name);
    const why = child.reason ? `: ${child.reason}` : "";
    if (!was) {
      told.push(`${child.name} has appeared, ${child.state}`);
    } else if (was.state !== child.state) {
      const again = child.state === "running" && (child.restarts > was.restarts || was.state !== "starting");
      const word = again ? "runs again" : child.state === "running" ? "runs" : `is now ${child.state}`;
      told.push(`${child.name} ${word}${child.state === "running" && child.pid ? `, process ${child.pid}` : why}`);
    } else if (child.restarts > was.restarts) {
      told.push(
        `${child.name} was replaced: process ${was.pid ?? "?"} ended, process ${child.pid ?? "?"} runs${why}`,
      );
    }
  }
  for (const name of old.keys()) told.push(`${name} is no longer part of the node`);
  if (before.node?.halted !== after.node?.halted) {
    const reason = after.node.halt_reason;
    told.push(after.node.halted ? `trading is halted${reason ? `: ${reason}` : ""}` : "trading is on again");
  }
  const key = (alert) => `${alert.fault} ${alert.name}`;
  const alertsOf = (state) => (state.alerts ?? []).filter((alert) => !TOLD_BETTER.has(alert.fault));
  const stood = new Set(alertsOf(before).map(key));
  const stands = new Set(alertsOf(after).map(key));
  for (const alert of alertsOf(after)) {
    if (!stood.has(key(alert))) told.push(`${alert.severity} alert, ${alert.name}: ${alert.reason}`);
  }
  for (const alert of alertsOf(before)) {
    if (!stands.has(key(alert))) told.push(`alert over, ${alert.name}: ${words(alert.fault)}`);
  }
  const states = new Map((before.slos ?? []).map((each) => [each.name, each.state]));
  for (const each of after.slos ?? []) {
    const was = states.get(each.name);
    if (was && was !== each.state && (was === "violated" || each.state === "violated")) {
      told.push(`objective ${words(each.name)} is ${each.state}`);
    }
  }
  const [old_, new_] = [before.rollout, after.rollout];
  if (new_ && (old_?.id !== new_.id || old_?.state !== new_.state || old_?.share !== new_.share)) {
    told.push(rolloutSays(new_).title.toLowerCase());
  }
  const held = (after.signals?.held ?? 0) - (before.signals?.held ?? 0);
  if (held > 0) told.push(`${many(held, "decision more waits", "decisions more wait")} for a person`);
  return told;
}

/** Throughput and latency by the minute, oldest first: `{from, rate, p50, p95}`, null where nothing ended. */
export function minutes(series) {
  const made = new Map();
  const at = series?.at ?? [];
  at.forEach((second, index) => {
    const minute = Math.floor(second / 60) * 60;
    if (!made.has(minute)) made.set(minute, { rates: [], middle: [], slow: [] });
    const kept = made.get(minute);
    if (Number.isFinite(series.throughput[index])) kept.rates.push(series.throughput[index]);
    if (Number.isFinite(series.p50_ms[index])) kept.middle.push(series.p50_ms[index]);
    if (Number.isFinite(series.p95_ms[index])) kept.slow.push(series.p95_ms[index]);
  });
  const mean = (values) => (values.length ? values.reduce((sum, each) => sum + each, 0) / values.length : null);
  return [...made].map(([from, kept]) => ({
    from,
    rate: mean(kept.rates),
    p50: mean(kept.middle),
    p95: kept.slow.length ? Math.max(...kept.slow) : null,
  }));
}

/** The newest number of a line; null where the last point has none. */
export function newest(values) {
  const last = values?.at(-1);
  return Number.isFinite(last) ? last : null;
}
