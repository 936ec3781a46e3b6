// What an operator may do here, once he has shown his token. Without one this page only reads.

import { keyed, make, show, write } from "./dom.js";
import { clock, many } from "./words.js";

const KEPT = "ark-operator";

const ACTS = {
  isolate: {
    title: "Isolate",
    text: "Its process is stopped and nothing reaches it. Its signals wait, none is lost, until it is released.",
  },
  release: { title: "Release", text: "It is started again, and the signals that wait before it flow again." },
  restart: { title: "Restart", text: "Its process is replaced. Nothing is lost; what it has in hand comes again." },
  halt: {
    title: "Halt trading",
    text:
      "Nothing more is sent to the broker, and entries that wait there are cancelled. Stops and targets stay." +
      " It lasts until somebody resumes, over restarts, too.",
    confirm: "Yes, halt trading on this node now",
    danger: true,
  },
  resume: { title: "Resume trading", text: "Plans are judged and sent to the broker again." },
  approve: {
    title: "Approve",
    text: "The signal is judged once more with your yes, which lifts no rule that denies.",
  },
  refuse: { title: "Refuse", text: "The signal ends as denied." },
};

/** The operator of this tab. */
export class Operator {
  /**
   * @param {{changed: function(): void, said: function(string): void}} hooks `changed` is called when there is an
   *   operator or no longer one, `said` with what is to be told aloud.
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.token = null;
    this.by = "";
    this.held = [];
    this.heldFor = "";
    this.wanted = null;
    this.tokenDialog = new Form("token-dialog", () => this.#submitToken());
    this.actDialog = new Form("act-dialog", () => this.#submitAct());
    const kept = read();
    if (kept) this.#use(kept.token, kept.by).catch(() => this.forget());
  }

  /** Whether there is one. */
  get isOn() {
    return this.token !== null;
  }

  /** Ask for the token, or forget it. */
  open() {
    if (this.isOn) {
      this.forget();
      this.hooks.said("The token is forgotten; this page only reads");
    } else {
      this.tokenDialog.open();
    }
  }

  /** Forget the token. */
  forget() {
    this.token = null;
    this.held = [];
    this.heldFor = "";
    sessionStorage.removeItem(KEPT);
    this.hooks.changed();
  }

  /** Ask whether something is to be done: `{op, agent}` or `{op, trace_id, symbol}`. */
  act(what) {
    if (!what) return;
    const kind = ACTS[what.op];
    this.wanted = what;
    const subject = what.agent ?? what.symbol ?? "";
    write(document.getElementById("act-title"), `${kind.title} ${subject}`.trim());
    write(document.getElementById("act-text"), kind.text);
    const confirm = document.querySelector("#act-dialog .confirm");
    show(confirm, Boolean(kind.confirm));
    const box = document.getElementById("confirmed");
    box.checked = false;
    box.required = Boolean(kind.confirm);
    write(confirm.querySelector("label"), kind.confirm ?? "");
    document.getElementById("reason").value = "";
    const button = document.querySelector("#act-dialog button[type=submit]");
    write(button, `${kind.title} ${subject}`.trim());
    button.classList.toggle("danger", Boolean(kind.danger));
    this.actDialog.open();
  }

  /** Look at a new document: has what is held changed? */
  see(state) {
    const sign = `${state.signals?.held ?? 0} ${state.signals?.accepted ?? 0}`;
    if (!this.isOn || sign === this.heldFor) return;
    this.heldFor = sign;
    if (!state.signals?.held) this.held = [];
    else this.#askHeld();
  }

  /** Draw what only an operator has. */
  draw(isLive) {
    write(document.getElementById("operate"), this.isOn ? "Stop operating" : "Operate");
    for (const node of document.querySelectorAll("p.operator-only, th.operator-only")) show(node, this.isOn);
    const section = document.getElementById("held");
    show(section, this.held.length > 0);
    write(
      section.querySelector("p"),
      `${many(this.held.length, "signal")}; without an answer by its deadline each is refused.`,
    );
    keyed(
      section.querySelector("ul"),
      this.held,
      (each) => each.trace_id,
      (each) => {
        const head = make("p", {}, make("strong", { text: each.symbol }), ` ${each.reason ?? ""}`);
        const until = make("p", {
          class: "quiet",
          text: `asked by ${each.agent}, until ${clock(each.until)}; trace ${each.trace_id}`,
        });
        const buttons = make("p", { class: "tools" });
        for (const op of ["approve", "refuse"]) {
          const button = make("button", {
            type: "button",
            text: ACTS[op].title,
            "aria-label": `${ACTS[op].title} ${each.symbol}, trace ${each.trace_id.slice(0, 8)}`,
          });
          button.addEventListener("click", () => this.act({ op, trace_id: each.trace_id, symbol: each.symbol }));
          buttons.append(button);
        }
        return { node: make("li", {}, head, until, buttons) };
      },
      () => {},
    );
    for (const button of document.querySelectorAll(".operator-only button, .held button, #problems li > button"))
      button.disabled = !isLive;
  }

  async #use(token, by) {
    await ask("/act/check", token);
    this.token = token;
    this.by = by;
    sessionStorage.setItem(KEPT, JSON.stringify({ token, by }));
    this.hooks.changed();
  }

  async #submitToken() {
    const field = document.getElementById("token");
    await this.#use(field.value.trim(), document.getElementById("by").value.trim());
    field.value = "";
    this.hooks.said("This page can operate the node now");
  }

  async #submitAct() {
    const { symbol, label, ...fields } = this.wanted;
    const reason = document.getElementById("reason").value.trim();
    try {
      await ask("/act", this.token, { ...fields, reason, by: this.by });
    } catch (error) {
      if (error.status === 401) this.forget();
      throw error;
    }
    this.hooks.said(`Done: ${ACTS[fields.op].title} ${fields.agent ?? symbol ?? ""}`.trim());
    this.heldFor = "";
  }

  async #askHeld() {
    try {
      const answer = await ask("/act", this.token, { op: "held" });
      this.held = answer.held ?? [];
    } catch (error) {
      this.held = [];
      if (error.status === 401) this.forget();
    }
    this.hooks.changed();
  }
}

/** A dialog with one question: it stays until the answer has been taken, and says in words what went wrong. */
class Form {
  constructor(id, submit) {
    this.dialog = document.getElementById(id);
    this.error = this.dialog.querySelector(".error");
    this.submit = submit;
    this.dialog.querySelector(".cancel").addEventListener("click", () => this.dialog.close());
    this.dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  open() {
    show(this.error, false);
    this.dialog.showModal();
    this.dialog.querySelector("input").focus();
  }

  async #send() {
    const button = this.dialog.querySelector("button[type=submit]");
    show(this.error, false);
    button.disabled = true;
    try {
      await this.submit();
      this.dialog.close();
    } catch (error) {
      write(this.error, error.message);
      show(this.error, true);
    } finally {
      button.disabled = false;
    }
  }
}

/** Ask the node in the operator's name; raises an error with words for people. */
async function ask(path, token, body) {
  const request = { cache: "no-store", headers: { Authorization: `Bearer ${token}` } };
  if (body) {
    request.method = "POST";
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error(
      "The node does not answer. Nothing is known of what became of it; look at the page, then try again.",
    );
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const error = content.error;
  const said = typeof error === "string" ? error : error?.message;
  const meanings = {
    401: "The token is not the operator's of this node, or not any more.",
    403: "That is not allowed to this token.",
    429: "Too many tries; wait a little.",
    503: "The front door does not answer now; try again in a moment.",
  };
  const failure = new Error(
    said ? sentence(said) : (meanings[answer.status] ?? `The node answers ${answer.status}.`),
  );
  failure.status = answer.status;
  throw failure;
}

function sentence(text) {
  const whole = text.trim();
  return `${whole[0]?.toUpperCase() ?? ""}${whole.slice(1)}${/[.!?]$/.test(whole) ? "" : "."}`;
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}
