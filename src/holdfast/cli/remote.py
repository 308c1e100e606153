"""The API, as the commands use it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.local_key import key_file
from holdfast.errors import ConfigurationError, HoldfastError
from holdfast.settings import Settings

if TYPE_CHECKING:
    from httpx import Response

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


class RequestRefused(HoldfastError):
    """The API refused the request; `code` is the problem's own."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.code = problem.get("code", str(status))
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")


class Remote:
    """An API by its URL and key."""

    def __init__(self, url: str, key: str) -> None:
        import httpx  # takes a quarter of a second, which other commands need not wait

        self.url = url
        # A proxy of the environment is for what is elsewhere.
        is_here = httpx.URL(url).host in _THIS_MACHINE
        self._http = httpx.Client(
            base_url=url,
            headers={"X-API-Key": key},
            timeout=httpx.Timeout(30, write=None),
            trust_env=not is_here,
        )

    def get(self, path: str, **parameters: object) -> dict[str, Any]:
        """The JSON at a path; parameters that are `None` are left out."""
        return self._answer(self._send("GET", path, params=_given(parameters)))

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **parameters: object,
    ) -> dict[str, Any]:
        """What the API answers to a JSON body, under an idempotency key if there is one."""
        headers = {} if key is None else {"Idempotency-Key": key}
        sent = self._send("POST", path, json=body, headers=headers, params=_given(parameters))
        return self._answer(sent)

    def upload(self, path: Path, collection: str, *, name: str) -> dict[str, Any]:
        """Upload a file for ingestion under this name, streaming it."""
        with path.open("rb") as file:
            answer = self._send(
                "POST",
                "/v1/documents/ingest",
                data={"collection": collection},
                files={"file": (name, file)},
            )
        return self._answer(answer)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, method: str, path: str, **content: Any) -> "Response":  # noqa: ANN401 - httpx's own
        from httpx import TransportError

        try:
            return self._http.request(method, path, **content)
        except TransportError as error:
            raise ConfigurationError(
                f"{self.url} does not answer ({error}). Start it with `holdfast up`, or set HOLDFAST_URL."
            ) from error

    def _answer(self, response: "Response") -> dict[str, Any]:
        body = _object(response)
        if response.is_error:
            raise RequestRefused(response.status_code, body)
        if not response.is_success or not body:
            raise ConfigurationError(f"What answers at {self.url} is not Holdfast. Set HOLDFAST_URL.")
        return body


def _given(parameters: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _object(response: "Response") -> dict[str, Any]:
    """The response's JSON object; an empty one if it has none."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


@contextmanager
def connected(settings: Settings) -> Iterator[Remote]:
    """The API that the settings name, or the one that `holdfast up` runs beside this folder.

    Raises:
        ConfigurationError: there is no key.
    """
    remote = Remote(settings.url, _key(settings))
    try:
        yield remote
    finally:
        remote.close()


def _key(settings: Settings) -> str:
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        return key_file(settings).read_text().strip()
    except FileNotFoundError:
        raise ConfigurationError(
            "There is no API key. Start `holdfast up` here first, or set HOLDFAST_API_KEY."
        ) from None
