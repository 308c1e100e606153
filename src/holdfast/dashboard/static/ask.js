// Asking the server, and asking again and again while somebody looks.

const ROOT = "/dashboard/api";

/** What a server said no to: `status`, and a `message` for people. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask for JSON; `options` are those of fetch, and `body` may be an object. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = { "X-Holdfast-Dashboard": "1" };
  let content = body;
  if (body !== undefined && !(body instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    content = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(ROOT + path, { method, headers, body: content, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server cannot be reached.");
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
    throw new Refusal(response.status, answer.detail ?? `The server answered ${response.status}.`);
  }
  return answer;
}

/** Send a file, telling how far it is from 0 to 1. */
export function upload(file, collection, onProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("collection", collection);
    form.append("file", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", `${ROOT}/documents`);
    request.setRequestHeader("X-Holdfast-Dashboard", "1");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / Math.max(event.total, 1)));
    request.addEventListener("error", () => reject(new Refusal(0, "The upload was cut off.")));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response);
      else reject(new Refusal(request.status, request.response?.detail ?? `The server answered ${request.status}.`));
    });
    request.send(form);
  });
}

/**
 * Ask again and again, `seconds` after each answer, while the page is looked at. Trouble is told by `trouble`,
 * with `null` when it is over, and asked about less often. Ends with the signal.
 */
export function repeat(seconds, signal, work, trouble) {
  let timer = 0;
  let failures = 0;
  let running = false;
  async function round() {
    clearTimeout(timer);
    if (signal.aborted || running) return;
    running = true;
    try {
      await work();
      if (failures) trouble(null);
      failures = 0;
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      failures += 1;
      trouble(error);
    } finally {
      running = false;
    }
    if (!signal.aborted && !document.hidden) timer = setTimeout(round, 1000 * seconds * Math.min(1 + failures, 10));
  }
  document.addEventListener("visibilitychange", () => document.hidden || round(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  round();
  return round;
}
