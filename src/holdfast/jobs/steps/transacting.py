"""Effects in PostgreSQL that happen exactly once: they commit together with their step, or not at all.

When the connection is lost in the middle, even in the COMMIT, so that nobody can say whether it was done, the
step's record tells. Should the lost COMMIT be still under way then, a second run finds the place of its step
taken, waits for the outcome, and is rolled back.
"""

import time
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from holdfast.jobs.database import Database
from holdfast.jobs.patience import patiently, patiently_async
from holdfast.jobs.steps import saved as saved_steps
from holdfast.jobs.steps.attempt_steps import Steps, in_thread
from holdfast.jobs.steps.calls import Call, misuse
from holdfast.jobs.steps.saved import NewStep, SavedStep, Verdict

# The function may fail by itself in a way that looks as if PostgreSQL were away: then the attempt decides.
PATIENCE: Final = timedelta(seconds=30)


class Transact:
    """One step whose function writes into PostgreSQL, in the transaction that saves the step.

    Args:
        steps: of the attempt.
        database: where the function writes.
        call: a step whose function takes the session first.
    """

    def __init__(self, steps: Steps, database: Database, call: Call) -> None:
        self._steps = steps
        self._database = database
        self._call = call
        self._has_begun = False

    async def run(self) -> Any:  # noqa: ANN401 - the type is the function's
        """The step's value: the saved one, or that of its function, committed with what it wrote."""
        with self._steps.under_way(self._call):
            saved = await self._steps.look_async(self._call.place)
            if saved is None:
                await self._steps.flush_async()
                if self._call.is_async:
                    saved = await patiently_async(self._run_async, patience=PATIENCE)
                else:
                    saved = await in_thread(self._run_patiently)
            return self._call.load(saved)

    def run_sync(self) -> Any:  # noqa: ANN401 - the type is the function's
        """As `run`, in a thread without an event loop."""
        if self._call.is_async:
            raise misuse("The functions that a def task gives to transact_sync are def as well.")
        with self._steps.under_way(self._call):
            saved = self._steps.look(self._call.place)
            if saved is None:
                self._steps.flush()
                saved = self._run_patiently()
            return self._call.load(saved)

    def _run_patiently(self) -> SavedStep:
        return patiently(self._run, patience=PATIENCE)

    def _run(self) -> SavedStep:
        if (known := self._known()) is not None:
            return known
        with self._database.session() as session:
            began = time.monotonic()
            value = self._call.run(session)
            session.flush()
            step = self._new(value, began)
            if self._save(session, step):
                session.commit()
                return SavedStep(step.fingerprint, step.result)
        return self._taken()

    async def _run_async(self) -> SavedStep:
        if (known := await in_thread(self._known)) is not None:
            return known
        async with self._database.async_session() as session:
            began = time.monotonic()
            value = await self._call.run(session)
            await session.flush()
            step = self._new(value, began)
            if await session.run_sync(self._save, step):
                await session.commit()
                return SavedStep(step.fingerprint, step.result)
        return await in_thread(self._taken)

    def _known(self) -> SavedStep | None:
        """The step, if an earlier run of the function was committed after all."""
        if self._has_begun:
            return self._steps.find(self._call.place)
        self._has_begun = True
        return None

    def _new(self, value: object, began: float) -> NewStep:
        return self._steps.new(self._call, self._call.result.dump(value), time.monotonic() - began)

    def _save(self, session: Session, step: NewStep) -> bool:
        (verdict,) = saved_steps.save(session, [step])
        if verdict is Verdict.STALE:
            raise self._steps.stale()
        return verdict is Verdict.SAVED

    def _taken(self) -> SavedStep:
        saved = self._steps.find(self._call.place)
        assert saved is not None  # noqa: S101 - whoever took the place has committed
        return saved
