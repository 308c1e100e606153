// The list of jobs: its filters are its address, and it moves by itself.

import { ask, repeat } from "./ask.js";
import { fill, h, keyed, setText } from "./elements.js";
import { ago, between, length, plural, time, wholeTime } from "./format.js";

const STATUSES = ["queued", "processing", "completed", "failed", "cancelled"];
const FIELDS = ["status", "task", "queue", "error", "owner"];
const LABELS = { task: "Task", queue: "Queue", error: "Error code", owner: "Key (hf_…)" };
// So many jobs are shown, and kept in step; older ones are to be had by narrowing the list.
const MOST = 500;

export function jobs({ root, signal, go }) {
  const asked = new URLSearchParams(location.search);
  const where = Object.fromEntries([...FIELDS, "batch", "parent"].map((name) => [name, asked.get(name) ?? ""]));
  let older = [];
  let lookedTo = null;

  const live = h("span.live", "Live");
  const body = h("tbody");
  const said = h("div.empty", { "aria-live": "polite" });
  const more = h("button", { click: lookOn, hidden: true }, "Older");
  const show = keyed(body, (job) => job.id, makeRow);
  const find = h("input", { name: "id", placeholder: "Job id", "aria-label": "Open the job with this id", autocomplete: "off" });
  root.append(
    h(".head", h("h1", "Jobs"), live, h("form", { submit: open }, find)),
    h("form.filters", { submit: (event) => event.preventDefault(), role: "search", "aria-label": "Filters" }, statusField(), FIELDS.slice(1).map(field), familyNote()),
    h(
      "section.panel",
      h(".table", h("table.cards", h("thead", h("tr", ["Job", "Status", "Task", "Queue", "Owner", "Made", "Took"].map((name) => h("th", name)))), body)),
      said,
    ),
    h(".buttons.more", more),
  );
  const again = repeat(2, signal, load, (error) => {
    live.classList.toggle("stale", error !== null);
    live.textContent = error === null ? "Live" : error.message;
  });

  function open(event) {
    event.preventDefault();
    if (find.value.trim()) go(`/dashboard/jobs/${encodeURIComponent(find.value.trim().toLowerCase())}`);
  }

  function statusField() {
    const options = ["", ...STATUSES].map((status) => h("option", { value: status, selected: status === where.status }, status || "any status"));
    return h("label", "Status", h("select", { name: "status", change: (event) => narrow("status", event.target.value) }, options));
  }

  function field(name) {
    let timer = 0;
    const input = h("input", {
      name,
      value: where[name],
      autocomplete: "off",
      spellcheck: "false",
      input: () => {
        clearTimeout(timer);
        timer = setTimeout(() => narrow(name, input.value.trim()), 300);
      },
    });
    return h("label", LABELS[name], input);
  }

  function familyNote() {
    const family = ["batch", "parent"].find((name) => where[name]);
    return family && h("a.button", { href: "/dashboard/jobs" }, `${family === "batch" ? "of one batch" : "of one parent"} ✕`);
  }

  function narrow(name, value) {
    where[name] = value;
    older = [];
    go(`/dashboard/jobs${query()}`, { replace: true });
    again();
  }

  function query(extra = {}) {
    const given = Object.entries({ ...where, ...extra }).filter(([, value]) => value);
    return given.length ? `?${new URLSearchParams(given)}` : "";
  }

  async function load() {
    const now = query();
    const found = await ask(`/jobs${now}`, { signal });
    if (now !== query()) return;
    if (!older.length) lookedTo = found.looked_to;
    draw(found.data);
  }

  function draw(newest) {
    const known = new Set(newest.map((job) => job.id));
    const rest = older.filter((job) => !known.has(job.id));
    const all = [...newest, ...rest].slice(0, MOST);
    show(all);
    more.hidden = lookedTo === null || all.length >= MOST;
    setText(said, all.length ? "" : lookedTo ? "None among the newest jobs; look on among older ones." : "No job is like this.");
    said.hidden = all.length > 0;
  }

  // What few jobs have lies far apart: the server looks at so many at a time, and is asked on from there.
  async function lookOn() {
    more.disabled = true;
    const shown = [...body.children].length;
    try {
      for (let looks = 0; looks < 25 && lookedTo !== null && !signal.aborted; looks += 1) {
        const found = await ask(`/jobs${query({ before: lookedTo })}`, { signal });
        if (!older.length) older = [...shownJobs()];
        older.push(...found.data);
        lookedTo = found.looked_to;
        setText(more, "Looking …");
        if (found.data.length) break;
      }
    } finally {
      more.disabled = false;
      setText(more, "Older");
    }
    draw(shownJobs().slice(0, Math.min(shown, 50)));
  }

  const latest = new Map();
  function shownJobs() {
    return [...body.children].map((row) => latest.get(row.dataset.id));
  }

  function makeRow(job) {
    const link = h("a.row-link.mono", { href: `/dashboard/jobs/${job.id}`, title: job.id }, `${job.id.slice(0, 8)}…${job.id.slice(-6)}`);
    const status = h("span");
    const detail = h("div.quiet.cut");
    const made = h("span");
    const took = h("span");
    const element = h(
      "tr",
      { "data-id": job.id },
      h("td.nowrap", link),
      h("td", status),
      h("td.name.whole", job.task, detail),
      h("td.wide-only", job.queue),
      h("td.wide-only.name", job.owner ?? h("span.quiet", "–")),
      h("td.nowrap", { title: wholeTime(job.created_at) }, made),
      h("td.nowrap", took),
    );
    return {
      element,
      update(next) {
        latest.set(next.id, next);
        if (status.textContent !== next.status) {
          status.className = `status ${next.status}`;
          status.textContent = next.status;
        }
        fill(detail, ...detailOf(next));
        setText(made, time(next.created_at));
        setText(took, tookOf(next));
      },
    };
  }
}

function detailOf(job) {
  if (job.status === "processing" && job.progress) return progressOf(job.progress);
  if (job.error_code && job.status !== "completed") return [`${job.error_code}: ${job.error_message ?? ""}`];
  if (job.status === "queued" && Date.parse(job.run_at) > Date.now()) return [`starts ${ago(job.run_at)}`];
  if (job.attempt > 1) return [plural(job.attempt, "attempt")];
  return [];
}

export function progressOf(progress) {
  const said = progress.message ? ` ${progress.message}` : "";
  if (!progress.total) return [`${progress.current}${said}`];
  const label = `${progress.current} of ${progress.total}`;
  return [h("progress", { max: progress.total, value: progress.current, "aria-label": label }), ` ${label}${said}`];
}

function tookOf(job) {
  if (job.started_at) return length(between(job.started_at, job.completed_at));
  const waited = between(job.run_at);
  return job.completed_at || waited < 0 ? "–" : `waits ${length(waited)}`;
}
