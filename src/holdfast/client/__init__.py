"""A Holdfast API from Python, without the server's dependencies.

    with Client("https://jobs.example.com", key) as client:
        job = client.submit("summarize", {"text": text})
        print(job.result(progress=True))

`AsyncClient` is the same, awaited. Errors are those of `holdfast.errors`.
"""

from holdfast.client.awaiting import AsyncBatch, AsyncClient, AsyncJob
from holdfast.client.blocking import Batch, Client, Job
from holdfast.client.calls import JobFilters, JobOptions
from holdfast.client.following import Event

__all__ = [
    "AsyncBatch",
    "AsyncClient",
    "AsyncJob",
    "Batch",
    "Client",
    "Event",
    "Job",
    "JobFilters",
    "JobOptions",
]
