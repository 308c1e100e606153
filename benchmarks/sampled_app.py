"""The two applications of `cost`, with the time of their processes sampled."""

import os
from pathlib import Path

from celery.signals import worker_process_init, worker_ready

from benchmarks.plain_app import app as plain
from benchmarks.sampling import Sampler
from benchmarks.starting_app import holdfast

__all__ = ["holdfast", "holdfast_celery", "plain"]

holdfast_celery = holdfast.celery
_folder = Path(os.environ["SAMPLES"])


@worker_ready.connect
def sample_main(**_: object) -> None:
    Sampler(_folder, "main")


@worker_process_init.connect
def sample_child(**_: object) -> None:
    Sampler(_folder, "child")
