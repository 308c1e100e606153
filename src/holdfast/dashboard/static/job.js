// One job: what it is doing, and all that it has been through.

import { ask, repeat } from "./ask.js";
import { confirmed, copy, fill, h, notice, setText } from "./elements.js";
import { ago, between, bytes, length, time, wholeTime } from "./format.js";
import { follow } from "./following.js";
import { progressOf } from "./jobs.js";
import { timeline } from "./timeline.js";

const ENDED = ["completed", "failed", "cancelled"];

export function job({ root, signal, me, go, jobId }) {
  const isAdmin = me.role === "admin";
  const status = h("span.status");
  const title = h("h1.name");
  const live = h("span.live", "Live");
  const buttons = h(".buttons");
  const error = h("div");
  const facts = h("dl.facts");
  const progress = h("div.nowrap");
  const times = h(".timeline");
  const attempts = h("div");
  const result = h("div");
  const metadata = h("div");
  const stream = h("section.panel", { hidden: true });
  const parts = h(
    ".stack",
    error,
    h("section.panel", h("h2", "Timeline"), h(".body.stack", progress, times)),
    stream,
    h("section.panel", h(".body", facts)),
    h("section.panel", h("h2", "Attempts"), attempts),
    h(".pair", h("section.panel", h("h2", "Result"), h(".body", result)), h("section.panel", h("h2", "Arguments"), h(".body", argumentsOf()))),
    metadata,
  );
  root.append(h(".head", title, status, live, buttons), parts);
  let latest = null;
  let isFollowed = false;
  const again = repeat(1.5, signal, load, trouble);

  function trouble(failure) {
    live.classList.toggle("stale", failure !== null);
    live.textContent = failure === null ? "Live" : failure.message;
    if (failure?.status === 404 || failure?.status === 422) {
      root.replaceChildren(h("section.panel", h(".empty", "There is no such job. ", h("a", { href: "/dashboard/jobs" }, "All jobs"))));
    }
  }

  async function load() {
    if (latest && ENDED.includes(latest.status)) return;
    latest = await ask(`/jobs/${jobId}`, { signal });
    // What has ended has nothing more to say.
    if (!isFollowed && !ENDED.includes(latest.status)) follow(jobId, signal, stream, again);
    isFollowed = true;
    setText(title, latest.task);
    status.className = `status ${latest.status}`;
    setText(status, latest.status === "processing" && latest.cancel_requested_at ? "processing, asked to stop" : latest.status);
    live.hidden = ENDED.includes(latest.status);
    showButtons();
    fill(error, latest.error && errorOf(latest.error));
    fill(progress, ...(latest.progress ? progressOf(latest.progress) : []));
    progress.hidden = !latest.progress;
    fill(times, ...timeline(latest));
    fill(facts, ...factsOf(latest));
    showAttempts();
    showResult();
    const isEmpty = Object.keys(latest.metadata ?? {}).length === 0;
    fill(metadata, !isEmpty && h("section.panel", h("h2", "Metadata"), h(".body", json(latest.metadata))));
  }

  function showButtons() {
    const wanted = [];
    const isDead = ["failed", "cancelled"].includes(latest.status);
    if (isAdmin && isDead) wanted.push(["Retry", retry, "primary"]);
    if (isAdmin && !ENDED.includes(latest.status)) wanted.push(["Cancel", cancel, "danger"]);
    wanted.push(["Copy as curl", copyAsCurl, ""], ["Copy id", () => copy(jobId, "the id"), ""]);
    const names = wanted.map(([name]) => name).join();
    if (buttons.dataset.names === names) return;
    buttons.dataset.names = names;
    buttons.replaceChildren(...wanted.map(([name, click, kind]) => h(kind ? `button.${kind}` : "button", { click }, name)));
  }

  async function cancel() {
    const text = latest.status === "queued" ? "It will not be started." : "It is asked to stop, and ends when its task notices.";
    if (!(await confirmed("Cancel this job?", text, "Cancel the job"))) return;
    await tried(async () => {
      await ask(`/jobs/${jobId}/cancel`, { method: "POST" });
      again();
    });
  }

  async function retry() {
    await tried(async () => {
      const made = await ask(`/jobs/${jobId}/retry`, { method: "POST" });
      notice("A new job does it again.");
      go(`/dashboard/jobs/${made.job_id}`);
    });
  }

  async function copyAsCurl() {
    const head = `-H "X-API-Key: $HOLDFAST_API_KEY"`;
    const look = `curl ${head} ${location.origin}/v1/jobs/${jobId}`;
    if (!isAdmin) return copy(look, "the command that shows the job");
    await tried(async () => {
      const { value } = await ask(`/jobs/${jobId}/arguments`);
      if (value === null) return copy(look, "the command that shows the job; its arguments are too long");
      const body = JSON.stringify({ task: latest.task, args: value, priority: latest.priority });
      const quoted = body.replaceAll("'", "'\\''");
      await copy(`curl ${head} -H "Content-Type: application/json" -d '${quoted}' ${location.origin}/v1/jobs`, "the command that asks for it again");
    });
  }

  function argumentsOf() {
    const place = h("div", isAdmin ? "" : h("p.quiet", "Shown to the scope admin."));
    if (isAdmin) {
      const show = async () =>
        tried(async () => {
          const found = await ask(`/jobs/${jobId}/arguments`);
          place.replaceChildren(found.value === null ? h("p.quiet", `${bytes(found.bytes)} are too long to show.`) : json(found.value));
        });
      place.replaceChildren(h("button", { click: show }, "Show the arguments"));
    }
    return place;
  }

  function showAttempts() {
    if (!latest.attempts.length) return fill(attempts, h(".empty", "It was not started yet."));
    const open = new Set([...attempts.querySelectorAll("details[open]")].map((each) => each.dataset.attempt));
    const rows = latest.attempts.map((each) => attemptRow(each, open.has(String(each.attempt))));
    const head = h("tr", ["", "Outcome", "Began", "Took", "Worker"].map((name, index) => h("th", index ? name : h("span.unseen", "Attempt"))));
    fill(attempts, h(".table", h("table.cards.tall", h("thead", head), h("tbody", rows))));
  }

  function showResult() {
    const { value, bytes: size } = latest.result;
    if (latest.status !== "completed") return fill(result, h("p.quiet", ENDED.includes(latest.status) ? "None." : "None yet."));
    if (value === null && size) return fill(result, h("p.quiet", `${bytes(size)} are too long to show: ask for /v1/jobs/${jobId}.`));
    fill(result, value === null ? h("p.quiet", "It returned nothing.") : json(value));
  }
}

async function tried(work) {
  try {
    await work();
  } catch (error) {
    notice(error.message, "bad");
  }
}

const json = (value) => h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

function errorOf(error) {
  const place = [error.stage && `in ${error.stage}`, error.attempt && `attempt ${error.attempt}`].filter(Boolean).join(", ");
  return h(".error", h("strong.bad", error.code ?? "error"), place && h("span.quiet", ` ${place}`), h("div", error.message ?? ""));
}

function attemptRow(attempt, isOpen) {
  const outcome = attempt.outcome ?? "processing";
  const trace = attempt.error?.traceback;
  const message = attempt.error && `${attempt.error.code ?? "error"}: ${attempt.error.message ?? ""}`;
  return h(
    "tr",
    h("td.number", `#${attempt.attempt}`),
    h("td", h(`span.status.${outcome}`, outcome.replace("_", " "))),
    h("td.nowrap", { title: wholeTime(attempt.started_at) }, time(attempt.started_at)),
    h("td.nowrap", attempt.ended_at ? length(between(attempt.started_at, attempt.ended_at)) : "runs"),
    h(
      "td.whole.name",
      h("span.mono", attempt.worker),
      message && h("div.bad", message),
      trace && h("details", { "data-attempt": attempt.attempt, open: isOpen }, h("summary", "Stack"), h("pre", { tabindex: "0" }, trace)),
    ),
  );
}

function factsOf(job) {
  const link = (id) => h("a.mono", { href: `/dashboard/jobs/${id}` }, `${id.slice(0, 8)}…${id.slice(-6)}`);
  const entries = [
    ["Id", h("span.mono", job.id)],
    ["Queue", `${job.queue}, priority ${job.priority}`],
    ["Owner", job.owner ?? "nobody"],
    ["Attempts", `${job.attempt}, ${job.failures} failed of ${job.max_attempts} allowed${job.crashes ? `, ${job.crashes} lost` : ""}`],
    ["Made", h("span", { title: wholeTime(job.created_at) }, `${time(job.created_at)} (${ago(job.created_at)})`)],
    job.status === "queued" && Date.parse(job.run_at) > Date.now() && ["Starts", `${time(job.run_at)} (${ago(job.run_at)})`],
    job.started_at && ["Waited", length(between(job.created_at, job.started_at))],
    job.completed_at && ["Ended", h("span", { title: wholeTime(job.completed_at) }, time(job.completed_at))],
    job.deadline && ["Deadline", time(job.deadline)],
    job.worker && ["Worker", h("span.mono", job.worker)],
    job.parent_id && ["Parent", link(job.parent_id)],
    job.batch_id && ["Batch", h("a", { href: `/dashboard/jobs?batch=${job.batch_id}` }, "its jobs")],
    job.retry_of && ["Retries", link(job.retry_of)],
    job.retries.length > 0 && ["Retried by", job.retries.map((id) => h("div", link(id)))],
    job.children.length > 0 && ["Children", h("a", { href: `/dashboard/jobs?parent=${job.id}` }, `${job.children.length} jobs`)],
  ];
  return entries.filter(Boolean).map(([name, value]) => h("div", h("dt", name), h("dd", value)));
}
