"""A client that uploads documents to the API of a run, and remembers what it was answered."""

import threading
from random import Random
from uuid import UUID

import httpx

PAUSE_SECONDS = 0.7
_TIMEOUT_SECONDS = 30
_WORDS = (
    "holdfast",
    "anchors",
    "kelp",
    "to",
    "rock",
    "through",
    "a",
    "storm",
    "and",
    "lets",
    "nothing",
    "go",
)
_LENGTHS = (500, 8_000)


class Uploader:
    """Uploads a document of its own every moment, in a thread.

    Attributes:
        accepted: the jobs of the uploads that were answered with 202.
        refused: how many were answered otherwise; they must leave nothing.
        broken: how many were not answered; they may have left a job.

    Args:
        port: of the API, on loopback.
        token: an API key.
        seed: of the documents.
    """

    def __init__(self, port: int, token: str, seed: int) -> None:
        self.accepted: set[UUID] = set()
        self.refused = 0
        self.broken = 0
        self._url = f"http://127.0.0.1:{port}/v1/documents/ingest"
        self._headers = {"X-API-Key": token}
        self._rng = Random(seed)  # noqa: S311 - not a secret
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos-uploader", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the upload that is under way."""
        self._over.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)

    def _run(self) -> None:
        number = 0
        # On this machine, where no proxy of the environment leads.
        with httpx.Client(headers=self._headers, timeout=_TIMEOUT_SECONDS, trust_env=False) as client:
            while not self._over.wait(PAUSE_SECONDS):
                self._upload(client, number)
                number += 1

    def _upload(self, client: httpx.Client, number: int) -> None:
        text = " ".join(self._rng.choices(_WORDS, k=self._rng.randint(*_LENGTHS)))
        try:
            answer = client.post(self._url, files={"file": (f"storm-{number}.txt", text.encode())})
        except httpx.ConnectError:
            return  # nobody was there to take it
        except httpx.TransportError:
            self.broken += 1
            return
        if answer.status_code == httpx.codes.ACCEPTED:
            self.accepted.add(UUID(answer.json()["job_id"]))
        else:
            self.refused += 1
