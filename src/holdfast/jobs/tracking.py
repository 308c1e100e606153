"""Progress that reports itself: one item after another."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from typing import Generic, TypeVar

T = TypeVar("T")


class Track(Generic[T]):
    """Items with their numbers, for `for` and `async for`; made by `JobContext.track`.

    Args:
        progress: told how many items are done, how many there are, and the message.
        items: to go through.
        total: how many they are, if they do not tell themselves.
        message: to show.
    """

    def __init__(
        self,
        progress: Callable[[int, int | None, str | None], None],
        items: Iterable[T] | AsyncIterable[T],
        total: int | None,
        message: str | None,
    ) -> None:
        self._progress = progress
        self._items = items
        self._total = len(items) if total is None and isinstance(items, Sized) else total
        self._message = message

    def __iter__(self) -> Iterator[tuple[int, T]]:
        if not isinstance(self._items, Iterable):
            raise TypeError("These items come asynchronously: go through them with `async for`.")
        self._report(0)
        for number, item in enumerate(self._items):
            yield number, item
            self._report(number + 1)

    async def __aiter__(self) -> AsyncIterator[tuple[int, T]]:
        if isinstance(self._items, Iterable):
            for pair in self:
                yield pair
            return
        self._report(0)
        number = 0
        async for item in self._items:
            yield number, item
            number += 1
            self._report(number)

    def _report(self, done: int) -> None:
        self._progress(done, self._total, self._message)
