// The first page: what waits, who works, how it went.

import { ask, repeat } from "./ask.js";
import { chart } from "./charts.js";
import { fill, h } from "./elements.js";
import { ago, count, length, moment, percent, plural, tick } from "./format.js";

const SPANS = { "1h": "1 hour", "24h": "24 hours", "30d": "30 days" };

export function overview({ root, signal, go }) {
  let span = new URLSearchParams(location.search).get("span");
  if (!(span in SPANS)) span = "1h";
  const buttons = Object.entries(SPANS).map(([name, label]) =>
    h("button", { "aria-pressed": String(name === span), "data-span": name, click: () => choose(name) }, label),
  );
  const live = h("span.live", "Live");
  const figures = h(".figures", { "aria-label": "Figures", role: "group" });
  const charts = makeCharts(() => span);
  const tasks = h("div");
  const workers = h("div");
  root.append(
    h(".head", h("h1", "Overview"), live, h(".choices", { role: "group", "aria-label": "Time shown" }, buttons)),
    h(
      ".stack",
      figures,
      h(".charts", charts.map((each) => each.element)),
      h(".pair", h("section.panel", h("h2", "Tasks"), tasks), h("section.panel", h("h2", "Workers"), workers)),
    ),
  );

  const again = repeat(2, signal, load, (error) => {
    live.classList.toggle("stale", error !== null);
    live.textContent = error === null ? "Live" : error.message;
  });

  function choose(name) {
    span = name;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.span === name));
    go(name === "1h" ? "/dashboard" : `/dashboard?span=${name}`, { replace: true });
    again();
  }

  async function load() {
    const asked = span;
    const found = await ask(`/overview?span=${asked}`, { signal });
    if (asked !== span) return again();
    showFigures(figures, found);
    charts.forEach((each) => each.update(found.stretches));
    showTasks(tasks, found);
    showWorkers(workers, found.workers);
  }
}

function makeCharts(span) {
  const label = (point) => moment(point.starts_at, span());
  const time = (point) => tick(point.starts_at, span());
  const ended = (name, shape) => ({ name, kind: name, shape, value: (point) => point[name] });
  const quantiles = (title, field) =>
    chart({
      title,
      series: [
        { name: "median", kind: "first", value: (point) => point[field]?.[0] ?? null },
        { name: "95 of 100 below", kind: "second", value: (point) => point[field]?.[1] ?? null },
      ],
      write: length,
      label,
      tick: time,
      least: 0.01,
    });
  return [
    chart({
      title: "Jobs ended",
      isBars: true,
      series: [ended("completed", "first"), ended("failed", "second"), ended("cancelled", "third")],
      write: (value) => count(Math.round(value * 10) / 10),
      label,
      tick: time,
    }),
    chart({
      title: "Error rate",
      series: [{ name: "of those that ended", kind: "fault", value: errorRate }],
      write: (value) => `${Math.round(1000 * value) / 10} %`,
      label,
      tick: time,
      least: 0.01,
    }),
    quantiles("Wait for a worker", "waits"),
    quantiles("Run time", "runs"),
  ];
}

function errorRate(point) {
  const ended = point.completed + point.failed;
  return ended ? point.failed / ended : null;
}

function showFigures(place, found) {
  const total = (way) => found.stretches.reduce((sum, each) => sum + each[way], 0);
  const [completed, failed, cancelled] = ["completed", "failed", "cancelled"].map(total);
  const queued = found.queues.reduce((sum, queue) => sum + queue.queued, 0);
  const isMore = found.queues.some((queue) => queue.queued >= found.counted_at_most);
  const running = found.queues.reduce((sum, queue) => sum + queue.processing, 0);
  const waits = found.queues.map((queue) => queue.oldest_wait_seconds).filter((wait) => wait !== null);
  const paused = found.queues.filter((queue) => queue.paused_at).length;
  const seconds = found.stretches.length * found.span.seconds;
  const alive = found.workers.filter((worker) => worker.heartbeat_age_seconds < 5);
  const consuming = alive.filter((worker) => worker.is_consuming && !worker.is_stopping);
  const slots = consuming.reduce((sum, worker) => sum + worker.concurrency, 0);
  fill(
    place,
    figure("Queued", count(queued) + (isMore ? "+" : ""), paused ? `${plural(paused, "queue")} paused` : plural(found.queues.length, "queue"), "/dashboard/jobs?status=queued"),
    figure("Oldest waits", waits.length ? length(Math.max(0, ...waits)) : "–", waits.length ? "since it was due" : "nothing is due", "/dashboard/queues"),
    figure("Running", count(running), slots ? `${count(slots)} places` : "", "/dashboard/jobs?status=processing"),
    figure("Completed", count(completed), rate(completed, seconds), "/dashboard/jobs?status=completed"),
    figure("Failed", count(failed), completed + failed ? `${percent(failed / (completed + failed))} of those ended` : "", "/dashboard/failures"),
    figure("Cancelled", count(cancelled), found.jobs_kept ? `${count(found.jobs_kept)} jobs kept in all` : "", "/dashboard/jobs?status=cancelled"),
    figure("Workers", count(alive.length), alive.length ? `${count(consuming.length)} consuming` : "none is alive", "/dashboard/queues"),
  );
}

function rate(jobs, seconds) {
  const each = jobs / seconds;
  return each >= 1 ? `${count(Math.round(10 * each) / 10)} a second` : `${count(Math.round(600 * each) / 10)} a minute`;
}

function figure(name, value, more, href) {
  return h("a.figure", { href }, h(".name", name), h(".value", value), h(".more", more));
}

function showTasks(place, { tasks }) {
  if (!tasks.length) return fill(place, h(".empty", "No job ended in this time."));
  const rows = tasks.map((each) =>
    h(
      "tr",
      h("td.name", h("a", { href: `/dashboard/jobs?task=${encodeURIComponent(each.task)}` }, each.task)),
      h("td.number", count(each.completed)),
      h("td.number", each.failed ? h("span.bad", count(each.failed)) : "0"),
      h("td.number", count(each.cancelled)),
    ),
  );
  const head = h("tr", h("th", "Task"), ...["Completed", "Failed", "Cancelled"].map((name) => h("th.number", name)));
  fill(place, h(".table", h("table", h("thead", head), h("tbody", rows))));
}

export function showWorkers(place, workers) {
  if (!workers.length) return fill(place, h(".empty", "No worker is alive. Start one: holdfast worker"));
  const rows = workers.map((each) =>
    h(
      "tr",
      h("td.name", h("div", each.host, " ", h("span.quiet", `pid ${each.pid}`)), h("div.quiet", `${each.pool}, ${each.queues.join(", ")}`)),
      h("td.number", `${count(each.running)} of ${count(each.concurrency)}`),
      h("td.nowrap", state(each)),
    ),
  );
  const head = h("tr", h("th", "Worker"), h("th.number", "Running"), h("th", "State"));
  fill(place, h(".table", h("table", h("thead", head), h("tbody", rows))));
}

function state(worker) {
  if (worker.heartbeat_age_seconds > 5) return h("span.status.failed", `silent for ${length(worker.heartbeat_age_seconds)}`);
  if (worker.is_stopping) return h("span.status.cancelled", "stopping");
  if (!worker.is_consuming) return h("span.status.failed", "alive, not consuming");
  return h("span.status.completed", { title: `since ${ago(worker.started_at)}` }, "consuming");
}
