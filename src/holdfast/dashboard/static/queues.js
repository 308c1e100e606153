// Queues, which can be paused and resumed, and the workers that take from them.

import { ask, repeat } from "./ask.js";
import { confirmed, h, keyed, notice, setText } from "./elements.js";
import { count, length, time } from "./format.js";
import { showWorkers } from "./overview.js";

export function queues({ root, signal, me }) {
  const live = h("span.live", "Live");
  const body = h("tbody");
  const said = h("div.empty", { hidden: true }, "No queue has jobs or workers.");
  const workers = h("div");
  const show = keyed(body, (queue) => queue.name, makeRow);
  const heads = ["Queue", "State", "Queued", "Running", "Oldest waits", "Workers"].map((name, index) => h(index > 1 ? "th.number" : "th", name));
  root.append(
    h(".head", h("h1", "Queues"), live),
    h(
      ".stack",
      h("section.panel", h(".table", h("table.cards", h("thead", h("tr", heads, h("th", h("span.unseen", "Pause or resume")))), body)), said),
      h("section.panel", h("h2", "Workers"), workers),
    ),
  );
  const again = repeat(2, signal, load, (error) => {
    live.classList.toggle("stale", error !== null);
    live.textContent = error === null ? "Live" : error.message;
  });

  async function load() {
    const [found, alive] = await Promise.all([ask("/queues", { signal }), ask("/workers", { signal })]);
    show(found.data);
    said.hidden = found.data.length > 0;
    const now = Date.now();
    showWorkers(workers, alive.data.map((each) => ({ ...each, heartbeat_age_seconds: (now - Date.parse(each.heartbeat_at)) / 1000 })));
  }

  function makeRow(queue) {
    let isPaused = false;
    const state = h("span.status");
    const [queued, running, oldest, takers] = [h("td.number"), h("td.number"), h("td.number"), h("td.number")];
    const button = h("button", { click: toggle });
    const link = `/dashboard/jobs?${new URLSearchParams({ status: "queued", queue: queue.name })}`;
    const element = h("tr", h("td.name", h("a.row-link", { href: link }, queue.name)), h("td", state), queued, running, oldest, takers, h("td.number", me.role === "admin" && button));
    return {
      element,
      update(next) {
        isPaused = next.paused_at !== null;
        const said = isPaused ? `paused since ${time(next.paused_at)}` : next.workers ? "served" : "no worker";
        state.className = `status ${isPaused ? "cancelled" : next.workers ? "completed" : "failed"}`;
        setText(state, said);
        setText(queued, next.queued >= 10_000 ? "10,000+" : count(next.queued));
        setText(running, count(next.processing));
        setText(oldest, next.oldest_wait_seconds === null ? "–" : length(Math.max(0, next.oldest_wait_seconds)));
        setText(takers, count(next.workers));
        setText(button, isPaused ? "Resume" : "Pause");
      },
    };

    async function toggle() {
      const text = "Jobs that run run on; no other is started until it is resumed.";
      if (!isPaused && !(await confirmed(`Pause the queue ${queue.name}?`, text, "Pause"))) return;
      button.disabled = true;
      try {
        await ask(`/queues/${encodeURIComponent(queue.name)}/${isPaused ? "resume" : "pause"}`, { method: "POST" });
        again();
      } catch (error) {
        notice(error.message, "bad");
      } finally {
        button.disabled = false;
      }
    }
  }
}
