"""Doing one thing for many at once, on behalf of code on an event loop."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST = 500


class Grouped(Generic[T, R]):
    """A thread that works on groups: while one is on its way the next gathers, and a lone item goes at once.

    Args:
        name: of the thread.
        work: does it for a group, and gives a result for each item in their order. What it raises is raised
            for each of them.
        most: items of one group.
    """

    def __init__(self, name: str, work: Callable[[Sequence[T]], Sequence[R]], *, most: int = MOST) -> None:
        self._name = name
        self._work = work
        self._most = most
        self._waiting: SimpleQueue[tuple[T, asyncio.Future[R]]] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, item: T) -> "asyncio.Future[R]":
        """The result for this item; called on an event loop."""
        self._ensure_thread()
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.put((item, answer))
        return answer

    def _ensure_thread(self) -> None:
        # What ends the thread is a bug, told by its traceback; the items after it are not to suffer.
        if self._thread is not None and self._thread.is_alive():
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            group = self._gather()
            loop = group[0][1].get_loop()
            try:
                results = self._work([item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - whoever waits raises it
                loop.call_soon_threadsafe(_refuse, group, error)
            else:
                loop.call_soon_threadsafe(_answer, group, results)

    def _gather(self) -> "list[tuple[T, asyncio.Future[R]]]":
        group = [self._waiting.get()]
        with suppress(Empty):
            while len(group) < self._most:
                group.append(self._waiting.get_nowait())
        return group


def _answer(group: "Sequence[tuple[T, asyncio.Future[R]]]", results: Sequence[R]) -> None:
    for (_, answer), result in zip(group, results, strict=True):
        if not answer.done():  # whoever waited may have been cancelled
            answer.set_result(result)


def _refuse(group: "Sequence[tuple[T, asyncio.Future[R]]]", error: Exception) -> None:
    for _, answer in group:
        if not answer.done():
            answer.set_exception(error)
