"""`celery worker` for an application that is at hand, without the rest of Celery's command line.

What else `celery` can do, and what its plugins (Flower, a shell) bring, takes half a second to import.
"""

from collections.abc import Sequence
from typing import NoReturn

from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker

# A worker that starts asks its neighbours, for a second, which tasks were revoked, and tells them that it is
# there. What was cancelled stands in PostgreSQL, and so do the workers.
_ALONE = ("--without-mingle", "--without-gossip")


def run_worker(app: Celery, arguments: Sequence[str]) -> NoReturn:
    """Run a worker in this process, which ends with it and has its exit status.

    Args:
        app: what it works for.
        arguments: as `celery worker` has them; 2 is the status where they are wrong.
    """
    worker.params.extend(app.user_options.get("worker", ()))
    # Whether the log has colours is left to what it is written to.
    context = CLIContext(app, no_color=None, workdir=None)  # type: ignore[arg-type]
    worker.main([*_ALONE, *arguments], "holdfast worker", obj=context)
