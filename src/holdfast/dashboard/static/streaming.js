// Reading a stream of events, whatever they are called: EventSource tells but of names that it was given.

const AGAIN_MS = 3000;

/**
 * Hear the events of a stream, `{ id, name, data }`, until `hear` returns `true`, the server has nothing more to
 * say, or the signal is aborted. A stream that breaks off is asked for again, from the last event on.
 */
export async function listen(path, signal, hear) {
  let lastId = "";
  const keep = (event) => {
    lastId = event.id ?? lastId;
    return hear(event);
  };
  while (!signal.aborted) {
    if (await connection(path, lastId, signal, keep)) return;
    await pause(AGAIN_MS, signal);
  }
}

/** Hear what one connection brings; `true`: there is nothing to come back for. */
async function connection(path, lastId, signal, hear) {
  const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
  let response;
  try {
    response = await fetch(path, { headers, signal, cache: "no-store" });
  } catch {
    return signal.aborted;
  }
  if (!response.ok) return response.status < 500 && response.status !== 429;
  if (response.status === 204) return true;
  return read(response.body.pipeThrough(new TextDecoderStream()).getReader(), signal, hear);
}

async function read(reader, signal, hear) {
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch {
      return signal.aborted;
    }
    if (piece.done) return false;
    const frames = (rest + piece.value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const event = eventOf(frame);
      if (event.name && hear(event)) {
        await reader.cancel();
        return true;
      }
    }
  }
}

function eventOf(frame) {
  const fields = new Map(frame.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  return { id: fields.get("id"), name: fields.get("event"), data: fields.get("data") ?? "" };
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    }
  });
}
