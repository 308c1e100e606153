// What a running job says while it runs, as far as the server streams it: texts, and a log of events.

import { h, setText } from "./elements.js";
import { time } from "./format.js";
import { listen } from "./streaming.js";

const MOST_EVENTS = 200;
const MOST_TEXT = 200_000;
const MOST_SAID = 2_000;
const ENDS = ["job.completed", "job.failed", "job.cancelled"];

/** Follow a job into `place`; `onChange` is called when its status has changed. Asking again goes on besides. */
export function follow(jobId, signal, place, onChange) {
  const text = h("pre.stream", { tabindex: "0", "aria-live": "off" });
  const log = h("ol.events");
  let streamed = "";
  let drawing = 0;

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

  listen(`/dashboard/api/jobs/${jobId}/events`, signal, ({ name, data }) => {
    if (name === "output.delta") {
      const said = JSON.parse(data);
      add(said.text ?? said.delta ?? data);
    } else if (name === "job.progress") {
      onChange();
    } else if (name.startsWith("job.")) {
      note(name.replace("job.", ""), "");
      onChange();
    } else if (name !== "snapshot") {
      note(name, data.length > MOST_SAID ? `${data.slice(0, MOST_SAID)}…` : data);
    }
    return ENDS.includes(name);
  });
}
