// Documents of the key that is signed in: brought by drag and drop, followed until they can be searched, found.

import { ask, repeat, upload } from "./ask.js";
import { confirmed, fill, h, keyed, notice, setText } from "./elements.js";
import { ago, bytes, count, plural } from "./format.js";

const COLLECTION = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const AT_ONCE = 3;

export function documents({ root, signal, me, go }) {
  const asked = new URLSearchParams(location.search);
  let collection = asked.get("collection") ?? "";
  const live = h("span.live", "Live");
  const choice = h("select", { name: "collection", change: () => choose(choice.value) });
  const body = h("tbody");
  const said = h("div.empty", { hidden: true }, "There is no document yet.");
  const show = keyed(body, (document) => document.id, makeRow);
  const uploads = h("tbody");
  const hits = h("div");
  root.append(
    h(".head", h("h1", "Documents"), live, h("label.check", "Collection", choice)),
    h(
      ".stack",
      searching(),
      me.role === "admin" && dropping(),
      h("section.panel", h(".table", h("table.cards", h("thead", h("tr", ["Document", "Collection", "State", "Size", "Chunks", "Made", ""].map((name) => h(["Size", "Chunks"].includes(name) ? "th.number" : "th", name || h("span.unseen", "Delete"))))), body)), said),
    ),
  );
  const again = repeat(2, signal, load, (error) => {
    live.classList.toggle("stale", error !== null);
    live.textContent = error === null ? "Live" : error.message;
  });

  function choose(name) {
    collection = name;
    go(`/dashboard/documents${name ? `?collection=${encodeURIComponent(name)}` : ""}`, { replace: true });
    again();
  }

  async function load() {
    const narrowed = collection ? `?collection=${encodeURIComponent(collection)}` : "";
    const [found, all] = await Promise.all([ask(`/documents${narrowed}`, { signal }), ask("/collections", { signal })]);
    const options = ["", ...all.data.map((each) => each.name)];
    if ([...choice.options].map((option) => option.value).join() !== options.join()) {
      choice.replaceChildren(...options.map((name) => h("option", { value: name }, name || "all")));
      choice.value = collection;
    }
    show(found.data);
    said.hidden = found.data.length > 0;
  }

  function searching() {
    const query = h("input", { type: "search", name: "query", required: true, maxlength: "4000", placeholder: "What to look for" });
    async function submit(event) {
      event.preventDefault();
      const place = collection || "default";
      try {
        const found = await ask("/search", { method: "POST", body: { query: query.value, collection: place, limit: 10 } });
        fill(hits, h("p.body.quiet", { role: "status" }, `${plural(found.data.length, "passage")} in ${place}, ranked by ${found.mode === "hybrid" ? "words and meaning" : "words"}`), ...found.data.map((hit) => hitOf(hit, query.value)));
      } catch (error) {
        fill(hits, h("p.body.bad", { role: "alert" }, error.message));
      }
    }
    return h("section.panel", h("form.searching.body", { submit, role: "search" }, h("label", "Search", query), h("button.primary", "Search")), hits);
  }

  function dropping() {
    const input = h("input", { type: "file", multiple: true, class: "unseen", "aria-label": "Files to upload", change: () => take(input.files) });
    const into = h("input", { name: "into", value: collection || "default", pattern: COLLECTION.source, autocomplete: "off" });
    const box = h(
      ".drop",
      h("strong", "Drop documents here"),
      h("span", "PDF, HTML, Markdown, text, or Office"),
      h(".buttons", h("button", { type: "button", click: () => input.click() }, "Choose files"), input),
      h("label", "into the collection", into),
    );
    const over = (event) => {
      event.preventDefault();
      box.classList.add("over");
    };
    box.addEventListener("dragover", over);
    box.addEventListener("dragleave", () => box.classList.remove("over"));
    box.addEventListener("drop", (event) => {
      event.preventDefault();
      box.classList.remove("over");
      take(event.dataTransfer.files);
    });
    const list = h("section.panel", { hidden: true }, h("h2", "Uploads"), h(".table", h("table", uploads)));
    return h(".stack", box, list);

    async function take(files) {
      const name = into.value.trim();
      if (!COLLECTION.test(name)) return notice("A collection's name has lower-case letters, digits, - and _.", "bad");
      list.hidden = false;
      const waiting = [...files].map((file) => ({ file, row: uploadRow(file) }));
      const lanes = Array.from({ length: Math.min(AT_ONCE, waiting.length) }, async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) await bring(next, name);
      });
      await Promise.all(lanes);
      input.value = "";
    }
  }

  function uploadRow(file) {
    const bar = h("progress", { max: "1", value: "0", "aria-label": `Upload of ${file.name}` });
    const state = h("span.quiet", "waits");
    uploads.prepend(h("tr", h("td.name", file.name), h("td.number", bytes(file.size)), h("td.name.filling", bar, " ", state)));
    return { bar, state };
  }

  async function bring({ file, row }, name) {
    const { bar, state } = row;
    try {
      const accepted = await upload(file, name, (share) => {
        bar.value = share;
        setText(state, share < 1 ? `${Math.round(100 * share)} %` : "stored");
      });
      bar.value = 1;
      again();
      await ingested(accepted.job_id, bar, state);
    } catch (error) {
      if (error.name === "AbortError") return;
      bar.hidden = true;
      state.className = "bad";
      setText(state, error.message);
    }
  }

  // The upload's job is followed in its row: reading and embedding take longer than sending.
  async function ingested(jobId, bar, state) {
    for (;;) {
      const job = await ask(`/jobs/${jobId}`, { signal });
      const link = h("a", { href: `/dashboard/jobs/${jobId}` }, job.status === "processing" ? (job.progress?.message ?? "being read") : job.status);
      if (job.progress?.total) {
        bar.max = job.progress.total;
        bar.value = job.progress.current;
      }
      fill(state, link);
      if (["completed", "failed", "cancelled"].includes(job.status)) {
        state.className = `status ${job.status}`;
        bar.hidden = true;
        if (job.error) state.append(h("span", ` ${job.error.message}`));
        return again();
      }
      await new Promise((resolve) => setTimeout(resolve, 800));
      if (signal.aborted) return;
    }
  }

  function makeRow(document) {
    const [state, size, chunks] = [h("td.name"), h("td.number"), h("td.number")];
    const remove = async () => {
      if (!(await confirmed(`Delete ${document.name}?`, "With all that was made of it; it is found no more.", "Delete"))) return;
      try {
        await ask(`/documents/${document.id}`, { method: "DELETE" });
        again();
      } catch (error) {
        notice(error.message, "bad");
      }
    };
    const title = h("div.quiet.cut");
    const element = h(
      "tr",
      h("td.name.whole", document.name, title),
      h("td", document.collection),
      state,
      size,
      chunks,
      h("td.nowrap", ago(document.created_at)),
      h("td.number", me.role === "admin" && h("button.plain", { click: remove, "aria-label": `Delete ${document.name}` }, "Delete")),
    );
    return {
      element,
      update(next) {
        setText(title, next.title && next.title !== next.name ? next.title : "");
        fill(state, stateOf(next), next.error && h("div.quiet", next.error.message));
        setText(size, bytes(next.size_bytes));
        setText(chunks, next.chunks === null ? "–" : count(next.chunks));
      },
    };
  }
}

function stateOf(document) {
  const said = { queued: "waits", processing: "being read", failed: "failed", cancelled: "cancelled" }[document.status];
  const label = said ?? (document.is_searchable ? "searchable" : "–");
  const status = h(`span.status.${document.status ?? "completed"}`, label);
  return document.job_id ? h("a", { href: `/dashboard/jobs/${document.job_id}` }, status) : status;
}

function hitOf(hit, query) {
  const place = [hit.page && `page ${hit.page}`, hit.section].filter(Boolean).join(" · ");
  return h(".hit", h("strong.name", hit.document), place && h("span.quiet", ` ${place}`), h("p", highlighted(hit.text, query)));
}

// Words of the query, and what begins with them without their endings, as the search itself takes them.
function highlighted(text, query) {
  const words = query.match(/[\p{L}\p{N}]{2,}/gu) ?? [];
  if (!words.length) return text;
  const stems = words.map((word) => (word.length > 5 ? word.replace(/(ing|ed|es|s|e)$/i, "") : word));
  const pattern = new RegExp(`(?<![\\p{L}\\p{N}])(?:${stems.join("|")})[\\p{L}\\p{N}]*`, "giu");
  const pieces = [];
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    pieces.push(text.slice(at, match.index), h("mark", match[0]));
    at = match.index + match[0].length;
  }
  return [...pieces, text.slice(at)];
}
