// What an operator may do here, once he has shown his token. Without one this page only reads.

import { focusNear, show, write } from "./dom.js";

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
  "deploy.pause": {
    title: "Pause the rollout",
    text: "It takes no step. Shares stay, and so does the deadline: unless somebody resumes, it goes back then.",
  },
  "deploy.resume": { title: "Resume the rollout", text: "It goes on, and what was seen until now holds it no more." },
  "deploy.approve": { title: "Approve the rollout’s next gate", text: "It counts under the name of your token." },
  "deploy.promote": {
    title: "Promote the rollout",
    text: "It takes the next step now, without waiting for the time that a step takes at least.",
  },
  "deploy.abort": {
    title: "Abort the rollout",
    text: "The stable version decides every signal from now on. It is always safe.",
    danger: true,
  },
};

/** The operator of this tab. */
export class Operator {
  /**
   * @param {{changed: function(): void, said: function(string): void}} hooks `changed` is called when there is an
   *   operator or no longer one, `said` with what is to be told aloud.
   */
  constructor(hooks) {
    this.hooks = hooks;
    this.name = "";
    this.token = null;
    this.held = [];
    this.heldAs = "";
    this.wanted = null;
    this.tokenDialog = new Dialog("token-dialog", () => this.#take());
    this.actDialog = new Dialog("act-dialog", () => this.#do());
    const kept = sessionStorage.getItem(KEPT);
    if (kept) this.#use(kept).catch((error) => error.status === 401 && this.forget());
  }

  /** Whether there is one. */
  get isOn() {
    return this.token !== null;
  }

  /** Ask for the token; where there is one, forget it. */
  open() {
    if (!this.isOn) {
      this.tokenDialog.open();
      return;
    }
    this.forget();
    this.hooks.said("The token is forgotten; this page only reads");
  }

  /** Forget the token. */
  forget() {
    this.token = null;
    this.held = [];
    this.heldAs = "";
    sessionStorage.removeItem(KEPT);
    this.hooks.changed();
  }

  /** Ask whether something is to be done: `{op}`, `{op, agent}`, `{op, trace_id, symbol}` or `{op, rollout}`. */
  act(wanted) {
    const { title, text, confirm, danger } = ACTS[wanted.op];
    const whole = `${title} ${wanted.agent ?? wanted.symbol ?? ""}`.trim();
    this.wanted = wanted;
    write(document.getElementById("act-title"), whole);
    write(document.getElementById("act-text"), text);
    document.getElementById("reason").value = "";
    const box = document.getElementById("confirmed");
    box.checked = false;
    box.required = Boolean(confirm);
    show(box.parentElement, Boolean(confirm));
    write(box.parentElement.querySelector("label"), confirm);
    const button = document.querySelector("#act-dialog [type=submit]");
    write(button, whole);
    button.classList.toggle("danger", Boolean(danger));
    this.actDialog.open();
  }

  /** Look at a new document: has what is held changed? */
  see(state) {
    const { held, accepted } = state.signals;
    const sign = `${held} of ${accepted}`;
    if (!this.isOn || sign === this.heldAs) return;
    this.heldAs = sign;
    if (held) this.#askHeld();
    else this.held = [];
  }

  async #use(token) {
    const answer = await ask("/act/check", token);
    this.token = token;
    this.name = answer.by;
    sessionStorage.setItem(KEPT, token);
    this.hooks.changed();
  }

  async #take() {
    const field = document.getElementById("token");
    await this.#use(field.value.trim());
    field.value = "";
    this.hooks.said(`This page operates the node as ${this.name}`);
  }

  async #do() {
    const { op, agent, trace_id, symbol, rollout } = this.wanted;
    const reason = document.getElementById("reason").value.trim();
    await this.#ask("/act", { op, agent, trace_id, rollout, reason });
    this.heldAs = "";
    this.hooks.said(`Done: ${ACTS[op].title} ${agent ?? symbol ?? ""}`.trim());
  }

  async #askHeld() {
    try {
      this.held = (await this.#ask("/act/held")).held;
    } catch {
      this.held = []; // the next document asks again
      this.heldAs = "";
    }
    this.hooks.changed();
  }

  async #ask(path, body) {
    try {
      return await ask(path, this.token, body);
    } catch (error) {
      if (error.status === 401) this.forget();
      throw error;
    }
  }
}

/** A dialog with one question: it stays until the answer has been taken, and says in words what went wrong. */
class Dialog {
  constructor(id, submit) {
    this.node = document.getElementById(id);
    this.error = this.node.querySelector(".error");
    this.button = this.node.querySelector("[type=submit]");
    this.submit = submit;
    this.opener = null;
    this.node.querySelector(".cancel").addEventListener("click", () => this.node.close());
    this.node.addEventListener("close", () => {
      // The button that has opened it may be gone, since it has done what it says.
      if (!this.opener.checkVisibility()) focusNear(this.opener);
    });
    this.node.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  open() {
    this.opener = document.activeElement;
    show(this.error, false);
    this.node.showModal();
    this.node.querySelector("input").focus();
  }

  async #send() {
    show(this.error, false);
    this.button.disabled = true;
    this.node.setAttribute("aria-busy", "true");
    try {
      await this.submit();
      this.node.close();
    } catch (error) {
      write(this.error, error.message);
      show(this.error, true);
    } finally {
      this.button.disabled = false;
      this.node.removeAttribute("aria-busy");
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
    throw new Error("The node does not answer. Look at the page for what became of it, before you try again.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const failure = new Error(sentence(content.error ?? `the node answers ${answer.status}`));
  failure.status = answer.status;
  throw failure;
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
