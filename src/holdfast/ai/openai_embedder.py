"""Embeddings from OpenAI and whatever speaks its protocol (vLLM, TEI, Ollama, llama.cpp, LiteLLM)."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Literal

import httpx

from holdfast.ai.embedder import EmbeddedBatch, Vector
from holdfast.ai.errors import MalformedReply
from holdfast.ai.halfvec import MAX_DIMENSIONS
from holdfast.ai.openai_protocol import Dialect, Exchange, ReplyBody, WireRequest
from holdfast.ai.packing import Limits
from holdfast.ai.replies import Reply
from holdfast.errors import ConfigurationError, ProviderError

_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 30.0


class OpenAIEmbedder:
    """An `Embedder` over `POST {base_url}/embeddings`.

    Make one per process and keep it: connections are reused. No socket is opened before the first call, so
    it may be made before a fork but not used before it. `embed` may be called from any thread; the async
    methods belong to one event loop. It never retries: `retryable` and `retry_after` of the error say what
    the job should do.

    Args:
        base_url: such as `https://api.openai.com/v1`.
        model: the provider's name for the model.
        dimensions: floats in each vector, 1 to 4,000.
        api_key: sent as a bearer token; `None` for a server without keys.
        send_dimensions: ask the model to shorten its vectors to `dimensions`; only some can.
        encoding_format: how vectors should travel; `float` for a server that rejects `base64`.
        limits: how much one request may hold.
        timeout: the longest wait for a connection's next bytes, or for a free connection.
        max_connections: the most requests at once, for `embed` and for the async methods each.

    Raises:
        ConfigurationError: an argument cannot work. The message does not repeat the key.
    """

    is_semantic = True

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        dimensions: int,
        api_key: str | None = None,
        send_dimensions: bool = False,
        encoding_format: Literal["base64", "float"] = "base64",
        limits: Limits | None = None,
        timeout: timedelta = timedelta(seconds=60),
        max_connections: int = 32,
    ) -> None:
        _check(model, dimensions, api_key)
        self.model = model
        self.dimensions = dimensions
        self._url = _embeddings_url(base_url)
        self._dialect = Dialect(
            model, dimensions, send_dimensions, encoding_format, api_key, limits or Limits()
        )
        headers = {"Content-Type": "application/json", "User-Agent": "holdfast"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        times = httpx.Timeout(timeout.total_seconds(), connect=_CONNECT_SECONDS)
        pool = httpx.Limits(max_connections=max_connections, keepalive_expiry=_KEEPALIVE_SECONDS)
        trust = httpx.create_ssl_context()  # 30 ms, so once for both
        # httpcore's pool goes through all its waiters for each request that ends, so 500 at once would cost
        # 10 ms of CPU each. They wait here instead, and the pool never sees more than it has connections.
        self._free = asyncio.Semaphore(max_connections)
        self._wait_seconds = timeout.total_seconds()
        self._client = httpx.Client(headers=headers, timeout=times, limits=pool, verify=trust)
        self._async_client = httpx.AsyncClient(headers=headers, timeout=times, limits=pool, verify=trust)

    def embed(self, texts: Sequence[str], *, idempotency_key: str | None = None) -> Iterator[EmbeddedBatch]:
        """Embed `texts` from synchronous code, a request for each batch that is asked for."""
        return self._embed(Exchange(self._dialect, texts, idempotency_key))

    def _embed(self, exchange: Exchange) -> Iterator[EmbeddedBatch]:
        while (request := exchange.next_request()) is not None:
            if (batch := exchange.receive(self._send(request))) is not None:
                yield batch

    def embed_async(
        self, texts: Sequence[str], *, idempotency_key: str | None = None
    ) -> AsyncIterator[EmbeddedBatch]:
        """Embed `texts` from an event loop; otherwise as `embed`."""
        return self._embed_async(Exchange(self._dialect, texts, idempotency_key))

    async def _embed_async(self, exchange: Exchange) -> AsyncIterator[EmbeddedBatch]:
        while (request := exchange.next_request()) is not None:
            if (batch := exchange.receive(await self._send_async(request))) is not None:
                yield batch

    async def embed_query(self, text: str) -> Vector:
        """Embed one search query."""
        vectors = [vector async for batch in self.embed_async([text]) for vector in batch.vectors]
        return vectors[0]

    def _send(self, request: WireRequest) -> Reply:
        body = ReplyBody(request.max_reply_bytes)
        with (
            _provider_errors(self._url),
            self._client.stream(
                "POST", self._url, content=request.body, headers=_headers(request)
            ) as response,
        ):
            for chunk in response.iter_bytes():
                body.add(chunk)
        return Reply(response.status_code, response.headers, body.finish())

    async def _send_async(self, request: WireRequest) -> Reply:
        body = ReplyBody(request.max_reply_bytes)
        with _provider_errors(self._url):
            async with (
                self._connection(),
                self._async_client.stream(
                    "POST", self._url, content=request.body, headers=_headers(request)
                ) as response,
            ):
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
        return Reply(response.status_code, response.headers, body.finish())

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise ProviderError(
                f"all connections to {self._url.host} were busy for {self._wait_seconds:g} seconds",
                retryable=True,
            ) from None
        try:
            yield
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the connections of `embed`."""
        self._client.close()

    async def aclose(self) -> None:
        """Close all connections, on the event loop that used them."""
        self.close()
        await self._async_client.aclose()


def _check(model: str, dimensions: int, api_key: str | None) -> None:
    if not model:
        raise ConfigurationError("the embedding model has no name")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ConfigurationError(f"dimensions must be 1 to {MAX_DIMENSIONS}, not {dimensions}")
    # A line break would make httpx refuse the header later, with the key in its message.
    if api_key is not None and not (
        api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key
    ):
        raise ConfigurationError("the API key holds spaces at its ends, or characters no key can have")
    if api_key == "":
        raise ConfigurationError("the API key is empty; leave it unset for a server without keys")


def _embeddings_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/") + "/embeddings")
    except httpx.InvalidURL:
        raise ConfigurationError("the provider's base URL is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"the provider's base URL must be http(s)://…, not {url.scheme or '?'}://")
    if url.userinfo:
        raise ConfigurationError("the provider's base URL holds a password; give it as the API key")
    return url


def _headers(request: WireRequest) -> dict[str, str]:
    return {} if request.idempotency_key is None else {"Idempotency-Key": request.idempotency_key}


@contextmanager
def _provider_errors(url: httpx.URL) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise ProviderError(
            f"{url.host} did not answer in time ({type(error).__name__})", retryable=True
        ) from error
    except httpx.DecodingError as error:
        raise MalformedReply(f"the reply of {url.host} is compressed and damaged", retryable=True) from error
    except httpx.TransportError as error:
        # Only a connect error's words are the system's own; others may quote what the server sent.
        reason = str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__
        raise ProviderError(f"{url.host} cannot be reached: {reason}", retryable=True) from error
