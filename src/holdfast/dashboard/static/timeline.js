// A job's life as bars: waits, attempts, and the steps that were saved, on one scale.

import { h } from "./elements.js";
import { between, length, time } from "./format.js";

const MOST_STEPS = 60;

export function timeline(job) {
  const end = Date.parse(job.completed_at ?? new Date().toISOString());
  const begin = Date.parse(job.created_at);
  const scale = Math.max(1, end - begin);
  const place = (from, to) => [(100 * (from - begin)) / scale, (100 * (to - from)) / scale];

  function bar(kind, from, to, said) {
    const [left, width] = place(Math.max(begin, from), Math.max(from, to));
    const span = h(`span.${kind}`, { title: said });
    // Through the object model, which the policy on styles allows.
    span.style.left = `${left.toFixed(3)}%`;
    span.style.width = `${Math.min(100 - left, Math.max(0, width)).toFixed(3)}%`;
    return span;
  }

  function row(name, bars, seconds, kind = "") {
    return h(kind ? `.row.${kind}` : ".row", h("span", { title: name }, name), h(".track", bars), h("span.number.quiet", seconds));
  }

  const rows = [];
  let free = begin;
  for (const attempt of job.attempts) {
    const started = Date.parse(attempt.started_at);
    const ended = attempt.ended_at ? Date.parse(attempt.ended_at) : end;
    if (started > free) rows.push(wait(free, started));
    const outcome = attempt.outcome ?? "processing";
    const said = `attempt ${attempt.attempt}, ${outcome}, from ${time(attempt.started_at)}`;
    rows.push(row(`attempt ${attempt.attempt}`, bar(outcome, started, ended, said), length((ended - started) / 1000)));
    rows.push(...steps(attempt.attempt));
    free = ended;
  }
  if (job.status === "queued" || (job.status === "cancelled" && end > free)) rows.push(wait(free, end));
  if (job.status === "queued" && Date.parse(job.run_at) > Date.now())
    rows.push(h("p.quiet", `It may start at ${time(job.run_at)}.`));
  if (job.steps.length > MOST_STEPS) rows.push(h("p.quiet", `The first ${MOST_STEPS} steps are shown.`));
  return rows;

  function wait(from, to) {
    const said = `waited from ${time(new Date(from))}`;
    return row("wait", bar("wait", from, to, said), length((to - from) / 1000));
  }

  function steps(attempt) {
    return job.steps
      .slice(0, MOST_STEPS)
      .filter((step) => step.attempt === attempt && Date.parse(step.started_at) >= begin - 1000)
      .map((step) => {
        const name = step.key ? `${step.name} ${step.key}` : step.name;
        const made = bar("saved", Date.parse(step.started_at), Date.parse(step.ended_at), `step ${name}`);
        return row(name, made, length(between(step.started_at, step.ended_at)), "step");
      });
  }
}
