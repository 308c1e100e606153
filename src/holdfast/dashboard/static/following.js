// What a running job says while it runs, as far as the server streams it: texts, and a log of events.

import { h, setText } from "./elements.js";
import { time } from "./format.js";

const MOST_EVENTS = 200;
const MOST_TEXT = 200_000;
const NAMES = ["job.queued", "job.started", "job.retrying", "job.completed", "job.failed", "job.cancelled"];

/** Follow a job into `place`; `onChange` is called when its status has changed. Asking again goes on besides. */
export function follow(jobId, signal, place, onChange) {
  const source = new EventSource(`/dashboard/api/jobs/${jobId}/events`);
  const text = h("pre.stream", { tabindex: "0", "aria-live": "off" });
  const log = h("ol.events");
  let streamed = "";
  let drawing = 0;
  signal.addEventListener("abort", () => source.close());
  // The stream ends with the job; a server without one says so at once.
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && source.close());

  function show() {
    if (!place.hidden) return;
    place.hidden = false;
    place.append(h("h2", "Live"), h(".body.stack", text, log));
  }

  function note(name, said) {
    show();
    log.prepend(h("li", h("span.quiet.nowrap", time(new Date())), h("span.nowrap", name), h("span.name", said)));
    while (log.childNodes.length > MOST_EVENTS) log.lastChild.remove();
  }

  function add(delta) {
    streamed = (streamed + delta).slice(-MOST_TEXT);
    show();
    // At most once a frame, however many pieces come.
    drawing ||= requestAnimationFrame(() => {
      drawing = 0;
      const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 20;
      setText(text, streamed);
      if (isAtEnd) text.scrollTop = text.scrollHeight;
    });
  }

  source.addEventListener("output.delta", (event) => {
    const data = JSON.parse(event.data);
    add(typeof data === "string" ? data : (data.text ?? data.delta ?? JSON.stringify(data)));
  });
  source.addEventListener("usage", (event) => note("usage", event.data));
  source.addEventListener("job.progress", onChange);
  for (const name of NAMES) {
    source.addEventListener(name, () => {
      note(name.replace("job.", ""), "");
      onChange();
      if (["job.completed", "job.failed", "job.cancelled"].includes(name)) source.close();
    });
  }
}
