// Failed jobs by what was wrong with them, and retrying all of a kind.

import { ask, repeat } from "./ask.js";
import { confirmed, h, keyed, notice, setText } from "./elements.js";
import { ago, count, plural, wholeTime } from "./format.js";

export function failures({ root, signal, me }) {
  const live = h("span.live", "Live");
  const body = h("tbody");
  const said = h("div.empty", { hidden: true }, "Nothing has failed.");
  const note = h("p.quiet");
  const show = keyed(body, (group) => JSON.stringify([group.task, group.code, group.likeness]), makeRow);
  root.append(
    h(".head", h("h1", "Failures"), live),
    h("section.panel", h(".table", h("table.cards", h("thead", h("tr", h("th", "Error"), h("th", "Task"), h("th.number", "Jobs"), h("th", "Last"), h("th", h("span.unseen", "Retry")))), body)), said),
    note,
  );
  const again = repeat(5, signal, load, (error) => {
    live.classList.toggle("stale", error !== null);
    live.textContent = error === null ? "Live" : error.message;
  });

  async function load() {
    const found = await ask("/failures", { signal });
    show(found.data);
    said.hidden = found.data.length > 0;
    const looked = found.data.reduce((sum, group) => sum + group.jobs, 0);
    setText(note, looked >= found.looked_at ? `Grouped from the newest ${count(found.looked_at)} failures.` : "");
  }

  function makeRow(group) {
    let newest = group;
    const jobs = h("div");
    const waiting = h("div.quiet");
    const last = h("span");
    const message = h("div.name");
    const button = h("button", { click: () => retryAll(newest, button, bar, again) }, "Retry all");
    const bar = h("progress", { hidden: true, "aria-label": "Retried" });
    const link = `/dashboard/jobs?${new URLSearchParams({ status: "failed", task: group.task, ...(group.code && { error: group.code }) })}`;
    const element = h(
      "tr",
      h("td.whole", h("a.row-link", { href: link }, group.code || "no code"), message),
      h("td.name", group.task),
      h("td.number", jobs, waiting),
      h("td.nowrap", last),
      h("td.number", me.role === "admin" && button, bar),
    );
    return {
      element,
      update(next) {
        newest = next;
        setText(message, next.message.slice(0, 300));
        setText(jobs, count(next.jobs));
        setText(waiting, next.waiting === next.jobs ? "" : next.waiting ? `${count(next.waiting)} not retried` : "all retried");
        setText(last, ago(next.last_at));
        last.title = `${wholeTime(next.first_at)} to ${wholeTime(next.last_at)}`;
        button.hidden = next.waiting === 0;
      },
    };
  }
}

async function retryAll(group, button, bar, again) {
  const text = `Each becomes a new job of the same owner, with the results of its saved steps. ${group.message.slice(0, 200)}`;
  if (!(await confirmed(`Retry ${plural(group.waiting, "failed job")}?`, text, "Retry all"))) return;
  const { task, code, likeness } = group;
  let [before, retried, refused] = [null, 0, 0];
  const reasons = new Set();
  button.disabled = true;
  bar.hidden = false;
  bar.max = group.waiting;
  try {
    do {
      const piece = await ask("/failures/retry", { method: "POST", body: { task, code, likeness, before } });
      retried += piece.retried;
      refused += piece.refused;
      piece.reasons.forEach((reason) => reasons.add(reason));
      before = piece.last_id;
      bar.value = Math.min(group.waiting, retried + refused);
      setText(button, `${count(retried)} retried`);
    } while (before !== null);
    notice(`${plural(retried, "job")} retried.`);
    if (refused) notice(`${plural(refused, "job")} could not be: ${[...reasons][0]}`, "bad");
  } catch (error) {
    notice(`${plural(retried, "job")} retried, then: ${error.message}`, "bad");
  } finally {
    button.disabled = false;
    setText(button, "Retry all");
    bar.hidden = true;
    again();
  }
}
