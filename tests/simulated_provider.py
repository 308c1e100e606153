"""A simulated AI provider: a real HTTP server with OpenAI's embeddings endpoint, on loopback.

In a test:

    with SimulatedProvider() as provider:
        provider.answer_next("rate_limited", times=2, retry_after="7")
        ...OpenAIEmbedder(base_url=provider.base_url, api_key=provider.api_key, ...)
        assert provider.counters()["repeated_inputs"] == 0          # nothing was paid twice

For other processes: `python tests/simulated_provider.py --port 8099`, then `GET /simulation` reads the
counters, `POST /simulation` takes the arguments of `answer_next` as JSON, `DELETE /simulation` resets. The
base URL is the first line it prints.

The vectors know a little meaning: words of one synonym class share a vector, so "car" finds "automobile".
"""

import argparse
import asyncio
import base64
import json
import math
import re
import socket
import struct
import threading
from collections import Counter, deque
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, get_args

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Answer = Literal[
    "rate_limited",  # 429, with `retry_after` if given
    "quota",  # 429 insufficient_quota
    "server_error",  # 500
    "unavailable",  # 503, with `retry_after` if given
    "refused",  # 400, whatever the texts are
    "garbage",  # 200 and HTML
    "too_few",  # 200 with one embedding missing
    "shuffled",  # 200, right, in another order: not a failure
    "nulls",  # 200 with null for each number
    "zeros",  # 200 with zero vectors
    "oversized",  # 200 followed by 64 MB of blanks
    "hang",  # nothing, until `release`
]

SYNONYMS = (
    "car automobile vehicle auto",
    "doctor physician medic",
    "buy purchase acquire",
    "begin start commence",
    "error failure fault mistake",
    "fast quick rapid swift",
    "house home dwelling",
    "delete remove erase",
    "job task work",
    "sea ocean",
)
_STOP_WORDS = "a an and are as at be by for from in is it of on or that the to was with"
STOP_WORDS = frozenset(_STOP_WORDS.split())
_CONCEPTS = {word: words.split()[0] for words in SYNONYMS for word in words.split()}
_SLOTS_PER_WORD = 4


@lru_cache(maxsize=65_536)
def _slots(word: str, dimensions: int) -> tuple[tuple[int, float], ...]:
    stem = word[:-1] if word.endswith("s") and len(word) > 3 else word
    concept = _CONCEPTS.get(word) or _CONCEPTS.get(stem) or stem
    digest = blake2b(concept.encode(), digest_size=4 * _SLOTS_PER_WORD).digest()
    numbers = struct.unpack(f">{_SLOTS_PER_WORD}I", digest)
    return tuple((number // 2 % dimensions, 1.0 if number % 2 else -1.0) for number in numbers)


def semantic_vector(text: str, dimensions: int) -> list[float]:
    """A unit vector, the sum of the vectors of the text's words without stop words."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        if word not in STOP_WORDS:
            for slot, sign in _slots(word, dimensions):
                vector[slot] += sign
    norm = math.hypot(*vector)
    return [value / norm for value in vector] if norm else [1.0] + [0.0] * (dimensions - 1)


def count_tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / 4)


@dataclass(frozen=True)
class Received:
    """One call to `/embeddings`, as it came."""

    texts: list[str]
    model: str
    idempotency_key: str | None


@dataclass
class Refusal(Exception):
    status: int
    message: str
    code: str | None = None


class Ledger:
    """What was asked for and what was charged: a text counts as an input when its vector was sent."""

    def __init__(self) -> None:
        self.calls = 0
        self.inputs = 0
        self.tokens = 0
        self.running = 0
        self.most_running = 0
        self.received: deque[Received] = deque(maxlen=1000)
        self._digests: Counter[bytes] = Counter()

    def charge(self, texts: list[str]) -> int:
        tokens = sum(map(count_tokens, texts))
        self.inputs += len(texts)
        self.tokens += tokens
        self._digests.update(self._digest(text) for text in texts)
        return tokens

    def times_embedded(self, text: str) -> int:
        return self._digests[self._digest(text)]

    def counters(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "inputs": self.inputs,
            "repeated_inputs": self.inputs - len(self._digests),
            "tokens": self.tokens,
            "running": self.running,
            "most_running": self.most_running,
        }

    @staticmethod
    def _digest(text: str) -> bytes:
        return blake2b(text.encode(), digest_size=16).digest()


class Simulation:
    """The provider's behaviour, apart from how it is served."""

    def __init__(
        self, *, dimensions: int = 64, api_key: str = "sk-simulated-key", delay_seconds: float = 0.0
    ) -> None:
        self.dimensions = dimensions
        self.api_key = api_key
        self.models = {"text-embedding-3-small"}
        self._usual_delay_seconds = delay_seconds
        self._released = asyncio.Event()
        self.reset()

    def reset(self) -> None:
        """Behave as at first: no calls, no counters, nothing planned."""
        self.delay_seconds = self._usual_delay_seconds  # each answer takes this long
        self.poison: str | None = None  # texts that hold it are refused with a 400
        self.max_inputs = 2048  # more in one request are refused with a 400
        self.ledger = Ledger()
        self._planned: deque[tuple[Answer, str | None]] = deque()

    def answer_next(self, answer: Answer, *, times: int = 1, retry_after: str | None = None) -> None:
        """Plan `answer` for the next `times` calls, after those planned before."""
        if answer not in get_args(Answer):
            raise ValueError(f"no such answer: {answer}")
        self._planned.extend([(answer, retry_after)] * times)

    def release(self) -> None:
        """Let the calls that hang now go on."""
        released, self._released = self._released, asyncio.Event()
        released.set()

    async def embeddings(self, request: Request) -> Response:
        body = await request.body()
        ledger = self.ledger
        ledger.calls += 1
        ledger.running += 1
        ledger.most_running = max(ledger.most_running, ledger.running)
        try:
            return await self._answer(request, orjson.loads(body))
        except Refusal as refusal:
            return _error(refusal)
        finally:
            ledger.running -= 1

    async def _answer(self, request: Request, asked: dict) -> Response:
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        key = request.headers.get("idempotency-key")
        self.ledger.received.append(Received(texts, asked["model"], key))
        planned, retry_after = self._planned.popleft() if self._planned else (None, None)
        if planned in _FAILURES:
            return _failure(planned, retry_after)
        if planned == "hang":
            await self._released.wait()
        await asyncio.sleep(self.delay_seconds)
        self._check(request, asked["model"], texts)
        return self._vectors(asked, texts, planned)

    def _check(self, request: Request, model: str, texts: list[str]) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if given != self.api_key:
            raise Refusal(401, f"Incorrect API key provided: {given}.", "invalid_api_key")
        if model not in self.models:
            raise Refusal(404, f"The model `{model}` does not exist.", "model_not_found")
        if not 1 <= len(texts) <= self.max_inputs:
            raise Refusal(400, f"'$.input' must hold 1 to {self.max_inputs} items.")
        if not all(texts) or sum(map(count_tokens, texts)) > 300_000:
            raise Refusal(400, "'$.input' is invalid.")
        for text in texts:
            if count_tokens(text) > 8192 or (self.poison is not None and self.poison in text):
                raise Refusal(400, f"This input cannot be embedded: {text}")

    def _vectors(self, asked: dict, texts: list[str], planned: Answer | None) -> Response:
        dimensions = asked.get("dimensions", self.dimensions)
        vectors = [semantic_vector(text, dimensions) for text in texts]
        if planned in ("nulls", "zeros"):
            vectors = [[None if planned == "nulls" else 0.0] * dimensions for _ in texts]
        as_text = asked.get("encoding_format") == "base64" and planned != "nulls"
        rows = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else vector}
            for index, vector in enumerate(vectors)
        ]
        if planned == "shuffled":
            rows.reverse()
        if planned == "too_few":
            rows.pop()
        tokens = self.ledger.charge(texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        content = {"object": "list", "data": rows, "model": asked["model"], "usage": usage}
        return Response(orjson.dumps(content), media_type="application/json")

    async def control(self, request: Request) -> Response:
        if request.method == "POST":
            self.answer_next(**json.loads(await request.body()))
        elif request.method == "DELETE":
            self.reset()
        return JSONResponse(self.ledger.counters())

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/embeddings", self.embeddings, methods=["POST"]),
                Route("/simulation", self.control, methods=["GET", "POST", "DELETE"]),
            ]
        )


_FAILURES = {
    "rate_limited": Refusal(429, "Rate limit reached for requests.", "rate_limit_exceeded"),
    "quota": Refusal(429, "You exceeded your current quota.", "insufficient_quota"),
    "server_error": Refusal(500, "The server had an error while processing your request."),
    "unavailable": Refusal(503, "The engine is currently overloaded."),
    "refused": Refusal(400, "This model does not support specifying dimensions."),
    "garbage": Refusal(200, "<html><body>Welcome to the hotel's network</body></html>"),
    "oversized": Refusal(200, " " * 64_000_000),
}


def _failure(answer: Answer, retry_after: str | None) -> Response:
    failure = _FAILURES[answer]
    if failure.status == 200:
        return Response(failure.message, media_type="text/html")
    response = _error(failure)
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return response


def _error(refusal: Refusal) -> Response:
    error = {
        "message": refusal.message,
        "type": refusal.code or "invalid_request_error",
        "code": refusal.code,
    }
    return JSONResponse({"error": error}, status_code=refusal.status)


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _server(simulation: Simulation) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            simulation.application(),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )


class SimulatedProvider(Simulation):
    """The simulation, served on a free loopback port by a thread while the `with` block runs."""

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        # Bound and listening before the thread runs: a client that is early waits in the backlog.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._server = _server(self)
        self._thread = threading.Thread(target=self._run, name="simulated-provider")
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    def counters(self) -> dict[str, int]:
        return self.ledger.counters()

    def __enter__(self) -> "SimulatedProvider":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def release(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(super().release)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(serve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8099, help="0 takes a free one")
    parser.add_argument("--dimensions", type=int, default=1536)
    parser.add_argument("--api-key", default="sk-simulated-key")
    parser.add_argument("--delay-seconds", type=float, default=0.0, help="time each answer takes")
    given = parser.parse_args()
    simulation = Simulation(
        dimensions=given.dimensions, api_key=given.api_key, delay_seconds=given.delay_seconds
    )
    listener = socket.create_server(("127.0.0.1", given.port), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    _server(simulation).run(sockets=[listener])


if __name__ == "__main__":
    main()
