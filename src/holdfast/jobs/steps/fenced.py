"""A transaction that only the attempt that holds the job can commit."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from holdfast.jobs.database import Database
from holdfast.jobs.steps.attempt_steps import Steps


class FencedTransaction(AbstractContextManager[Session], AbstractAsyncContextManager[AsyncSession]):
    """`with` gives a `Session`, `async with` an `AsyncSession`; it commits at the end of the block.

    Args:
        steps: of the attempt; they are durable before the transaction begins.
        database: where the transaction is.
        hold: checks in the session, until the transaction ends, that the attempt holds the job.
    """

    def __init__(self, steps: Steps, database: Database, hold: Callable[[Session], bool]) -> None:
        self._steps = steps
        self._database = database
        self._hold = hold
        self._block = self._sync()
        self._async_block = self._async()

    def __enter__(self) -> Session:
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)

    async def __aenter__(self) -> AsyncSession:
        return await self._async_block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._async_block.__aexit__(kind, error, trace)

    @contextmanager
    def _sync(self) -> Iterator[Session]:
        self._steps.flush()
        with self._database.transaction() as session:
            yield session
            session.flush()
            self._check(session)

    @asynccontextmanager
    async def _async(self) -> AsyncIterator[AsyncSession]:
        await self._steps.flush_async()
        async with self._database.async_session() as session, session.begin():
            yield session
            await session.flush()
            await session.run_sync(self._check)

    def _check(self, session: Session) -> None:
        if not self._hold(session):
            raise self._steps.stale()
