// API keys: who has one and uses it, new ones, and the end of one.

import { ask, repeat } from "./ask.js";
import { confirmed, copy, h, keyed, notice, setText } from "./elements.js";
import { ago, count, time, wholeTime } from "./format.js";

export function keys({ root, signal, me }) {
  const body = h("tbody");
  const show = keyed(body, (key) => key.prefix, makeRow);
  const made = h("section.panel", { hidden: true, role: "status" });
  const trouble = h("p.trouble", { hidden: true });
  const heads = ["Name", "Key", "Scopes", "Made", "Last job", "In 24 h", "Ends"].map((name) => h(name === "In 24 h" ? "th.number" : "th", name));
  root.append(
    h(".head", h("h1", "Keys")),
    trouble,
    h(".stack", me.role === "admin" && making(), made, h("section.panel", h(".table", h("table.cards", h("thead", h("tr", heads, h("th", h("span.unseen", "Revoke")))), body)))),
  );
  let most = Infinity;
  const again = repeat(10, signal, load, (error) => {
    trouble.hidden = error === null;
    setText(trouble, error?.message);
  });

  async function load() {
    const found = await ask("/keys", { signal });
    most = found.counted_at_most;
    show(found.data);
  }

  function making() {
    const name = h("input", { name: "name", required: true, maxlength: "200", placeholder: "Whose key it is", autocomplete: "off" });
    const scope = h("select", { name: "scope" }, h("option", { value: "" }, "jobs and documents of its own"), h("option", { value: "viewer" }, "and looks at this dashboard (viewer)"), h("option", { value: "admin" }, "and runs the whole (admin)"));
    const days = h("input", { name: "days", type: "number", min: "1", max: "36500", placeholder: "never" });
    async function submit(event) {
      event.preventDefault();
      try {
        const body = { name: name.value, scopes: scope.value ? [scope.value] : [], expires_in_days: days.value ? Number(days.value) : null };
        const { token } = await ask("/keys", { method: "POST", body });
        tell(name.value, token);
        name.value = "";
        again();
      } catch (error) {
        notice(error.message, "bad");
      }
    }
    return h("form.panel.body.searching", { submit }, h("label", "Name", name), h("label", "What it may do", scope), h("label", "Days until it ends", days), h("button.primary", "Make a key"));
  }

  function tell(name, token) {
    const close = () => {
      made.hidden = true;
      made.replaceChildren();
    };
    made.replaceChildren(
      h("h2", `The key of ${name}, shown now and never again`),
      h(".body.stack", h("pre.token", { tabindex: "0" }, token), h(".buttons", h("button.primary", { click: () => copy(token, "the key") }, "Copy"), h("button", { click: close }, "I have it"))),
    );
    made.hidden = false;
  }

  function makeRow(key) {
    const [last, jobs, ends, action] = [h("td.nowrap"), h("td.number"), h("td.nowrap"), h("td.number")];
    const revoke = async () => {
      if (!(await confirmed(`Revoke the key of ${key.name}?`, "It stops working within seconds. Its jobs and documents stay.", "Revoke"))) return;
      try {
        await ask(`/keys/hf_${key.prefix}`, { method: "DELETE" });
        again();
      } catch (error) {
        notice(error.message, "bad");
      }
    };
    const button = h("button.danger", { click: revoke, "aria-label": `Revoke the key of ${key.name}` }, "Revoke");
    if (me.role === "admin") action.append(button);
    const name = h("a.row-link", { href: `/dashboard/jobs?owner=hf_${key.prefix}` }, key.name);
    const element = h("tr", h("td.name", name), h("td.mono", `hf_${key.prefix}`), h("td", key.scopes.join(", ")), h("td.nowrap", { title: wholeTime(key.created_at) }, time(key.created_at)), last, jobs, ends, action);
    return {
      element,
      update(next) {
        setText(last, next.last_job_at ? ago(next.last_job_at) : "never");
        setText(jobs, count(next.jobs) + (next.jobs >= most ? "+" : ""));
        setText(ends, next.revoked_at ? `revoked ${ago(next.revoked_at)}` : next.expires_at ? time(next.expires_at) : "–");
        button.hidden = next.is_over;
        element.classList.toggle("quiet", next.is_over);
      },
    };
  }
}
