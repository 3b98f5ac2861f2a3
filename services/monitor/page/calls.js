// Shows the function calls that run or wait for an approval, and what came of the last calls.

import { element, say } from "./shown.js";

// The buttons of a call that waits for an approval.
const BUTTONS = { approve: "Allow", deny: "Deny" };

export class Calls {
  // `list` shows the calls. `asked`, a live region, gets one sentence for each call that waits for an
  // approval. `answer(command, call_id)` is called when the person presses a button.
  constructor(list, asked, answer) {
    this.list = list;
    this.asked = asked;
    this.answer = answer;
    this.lines = new Map();
    this.questions = new Map();
  }

  // `running`: the calls that run or wait; `ended`: the results of calls, the newest last.
  show(running, ended) {
    const focused = this.list.contains(document.activeElement);
    const done = ended.filter(({ call_id }) => !running.some((call) => call.call_id === call_id)).reverse();
    const wanted = [
      ...running.map((call) => [call, `${name(call)}: ${call.state === "asking" ? "may it run?" : call.state}`]),
      ...done.map((call) => [call, `${name(call)}: ${call.result}${call.text ? `: ${call.text}` : ""}`]),
    ];
    this.forget(this.lines, wanted.map(([{ call_id }]) => call_id));
    wanted.forEach(([call, text], n) => this.place(this.line(call, text), n));
    this.ask(running.filter(({ state }) => state === "asking"));
    // The focused button is gone: keep the keyboard's place, but press nothing by accident.
    if (focused && !this.list.contains(document.activeElement)) this.list.focus();
  }

  line(call, text) {
    let line = this.lines.get(call.call_id);
    if (!line) {
      line = element("li");
      line.append(element("span"));
      this.lines.set(call.call_id, line);
    }
    line.className = call.result ?? "";
    say(line.firstChild, text);
    const [, buttons] = line.children;
    if (call.state !== "asking") buttons?.remove();
    else if (!buttons) line.append(" ", this.buttons(call));
    return line;
  }

  buttons(call) {
    const both = element("span", "", "answers");
    for (const [command, word] of Object.entries(BUTTONS)) {
      const button = element("button", word);
      button.type = "button";
      // Two calls can wait: a screen reader that stands on a button needs the call's name.
      button.setAttribute("aria-label", `${word} ${name(call)}`);
      button.addEventListener("click", () => this.answer(command, call.call_id));
      both.append(button, " ");
    }
    return both;
  }

  // Make a line the list's nth one. A line that is moved loses the focus, so the others move.
  place(line, n) {
    const { children } = this.list;
    if (line.contains(document.activeElement)) while (children[n] !== line) this.list.append(children[n]);
    if (children[n] !== line) this.list.insertBefore(line, children[n] ?? null);
  }

  ask(asking) {
    this.forget(this.questions, asking.map(({ call_id }) => call_id));
    for (const call of asking.filter(({ call_id }) => !this.questions.has(call_id))) {
      const text = `The assistant waits for you: may ${name(call)} run? Press the button Allow or Deny.`;
      const question = element("p", text);
      this.questions.set(call.call_id, question);
      this.asked.append(question);
    }
  }

  // Remove the elements of the calls that are no longer shown.
  forget(elements, ids) {
    for (const [id, gone] of elements) {
      if (ids.includes(id)) continue;
      gone.remove();
      elements.delete(id);
    }
  }
}

const name = ({ summary, name }) => summary || name;
