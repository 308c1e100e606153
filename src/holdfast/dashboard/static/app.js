// The frame of all pages: who is signed in, which page the address asks for, keys and theme.

import { ask } from "./ask.js";
import { h, notice } from "./elements.js";
import { overview } from "./overview.js";

// Loaded when they are first looked at; the first page is there at once.
const PAGES = [
  { path: "/dashboard", name: "Overview", key: "o", load: async () => overview },
  { path: "/dashboard/jobs", name: "Jobs", key: "j", load: async () => (await import("./jobs.js")).jobs },
  { path: "/dashboard/failures", name: "Failures", key: "f", load: async () => (await import("./failures.js")).failures },
  { path: "/dashboard/queues", name: "Queues", key: "q", load: async () => (await import("./queues.js")).queues },
  { path: "/dashboard/documents", name: "Documents", key: "d", load: async () => (await import("./documents.js")).documents },
  { path: "/dashboard/keys", name: "Keys", key: "k", load: async () => (await import("./keys.js")).keys },
];
const JOB = /^\/dashboard\/jobs\/([0-9a-f-]{36})$/;

const main = document.getElementById("main");
const bar = document.getElementById("bar");
let me = null;
let leaving = new AbortController();

async function show({ keepsFocus = false } = {}) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (me === null) return showDoor();
  const path = location.pathname.replace(/\/$/, "");
  const job = JOB.exec(path);
  const page = PAGES.find((each) => each.path === path) ?? (job ? PAGES[1] : PAGES[0]);
  for (const link of bar.querySelectorAll("nav a")) {
    if (link.pathname === page.path) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    else link.removeAttribute("aria-current");
  }
  document.title = `${job ? "Job" : page.name} · Holdfast`;
  const draw = job ? (await import("./job.js")).job : await page.load();
  if (signal.aborted) return;
  const root = h("div.page");
  main.replaceChildren(root);
  if (!keepsFocus) scrollTo(0, 0);
  draw({ root, me, signal, go, jobId: job?.[1] });
}

/** Go to an address of the dashboard. `replace` is for filters: they make no history of their own. */
export function go(address, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address);
  if (!replace) {
    show();
    main.focus();
  }
}

function showBar() {
  const links = PAGES.filter((page) => page.name !== "Documents" || me.has_documents).map((page) =>
    h("a", { href: page.path, title: `g ${page.key}` }, page.name),
  );
  bar.replaceChildren(
    h("a.brand", { href: "/dashboard" }, h("img", { src: "/dashboard/static/mark.svg", alt: "" }), "Holdfast"),
    h("nav", { "aria-label": "Pages" }, links),
    h(
      "div.who",
      h("span.quiet.name-of-key", me.name),
      h("span.role", me.role),
      h("button.plain", { click: nextTheme, title: "Theme (t)", "aria-label": "Change the theme" }, "◐"),
      h("button.plain", { click: signOut }, "Sign out"),
    ),
  );
  bar.hidden = false;
}

function showDoor() {
  bar.hidden = true;
  document.title = "Sign in · Holdfast";
  const input = h("input", { type: "password", name: "key", autocomplete: "current-password", required: true, autofocus: true });
  const trouble = h("p.bad", { role: "alert" });
  async function submit(event) {
    event.preventDefault();
    trouble.textContent = "";
    try {
      me = await ask("/session", { method: "POST", body: { key: input.value.trim() } });
      input.value = "";
      showBar();
      show();
    } catch (error) {
      trouble.textContent = error.message;
      input.select();
    }
  }
  main.replaceChildren(
    h(
      "section.panel.door",
      h("img", { src: "/dashboard/static/mark.svg", alt: "" }),
      h("h1", "Holdfast"),
      h(
        "form",
        { submit },
        h("label", "API key with the scope admin or viewer", input),
        trouble,
        h("button.primary", "Sign in"),
      ),
      h("p.quiet", "holdfast keys create NAME --scope admin"),
    ),
  );
  input.focus();
}

async function signOut() {
  await ask("/session", { method: "DELETE" }).catch((error) => notice(error.message, "bad"));
  me = null;
  show();
}

function nextTheme() {
  const themes = ["", "light", "dark"];
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "") + 1) % themes.length];
  localStorage.setItem("holdfast-theme", next);
  useTheme(next);
  notice(`Theme: ${next || "as the system has it"}.`);
}

function useTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

function showKeys() {
  const box = h(
    "dialog",
    { "aria-labelledby": "keys-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "keys-title" }, "Keys"),
      h(
        "div.shortcuts",
        ...PAGES.flatMap((page) => [h("span", h("kbd", "g"), " ", h("kbd", page.key)), h("span", page.name)]),
        h("kbd", "/"), h("span", "To the first field"),
        h("span", h("kbd", "j"), " ", h("kbd", "k")), h("span", "Down and up a list; Enter opens"),
        h("kbd", "t"), h("span", "Theme: as the system, light, dark"),
      ),
      h(".buttons", h("button", "Close")),
    ),
  );
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

function step(down) {
  const links = [...main.querySelectorAll("tbody a.row-link")];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + (down ? 1 : -1)))]?.focus();
}

let wentAt = 0;
function onKey(event) {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (me === null || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const goes = Date.now() - wentAt < 1200 && PAGES.find((page) => page.key === event.key);
  wentAt = event.key === "g" ? Date.now() : 0;
  if (goes) go(goes.path);
  else if (event.key === "?") showKeys();
  else if (event.key === "t") nextTheme();
  else if (event.key === "j" || event.key === "k") step(event.key === "j");
  else if (event.key === "/") main.querySelector("input, select")?.focus();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  const isOurs = link && link.origin === location.origin && link.pathname.startsWith("/dashboard") && !link.hash;
  if (!isOurs || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});
addEventListener("popstate", () => show());
addEventListener("signed-out", () => {
  if (me === null) return;
  me = null;
  notice("You are signed out.");
  show();
});

useTheme(localStorage.getItem("holdfast-theme") ?? "");
try {
  const session = await ask("/session");
  me = session.name === null ? null : session;
} catch (error) {
  notice(error.message, "bad");
}
if (me) showBar();
show();
