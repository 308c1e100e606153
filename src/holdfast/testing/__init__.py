"""What tests of an application with jobs need: real engines, real workers, jobs run in process, a clock.

For pytest there are fixtures, `pytest_plugins = ["holdfast.testing.fixtures"]`; they alone need pytest, which
`pip install "holdfast[testing]"` brings. Nothing here imitates the engine: a test that passes has seen
PostgreSQL, Valkey and, with `WorkerProcess`, Celery at work.
"""

from holdfast.testing.clock import Clock
from holdfast.testing.pointing import pointed_at
from holdfast.testing.running import run_job
from holdfast.testing.waiting import wait_for
from holdfast.testing.worker import WorkerProcess

__all__ = ["Clock", "WorkerProcess", "pointed_at", "run_job", "wait_for"]
