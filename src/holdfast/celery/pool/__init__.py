"""A Celery pool that awaits coroutines, for any Celery project.

    CELERY_CUSTOM_WORKER_POOL=holdfast.celery.pool:AsyncioPool celery -A proj worker -P custom -c 1000

`async def` tasks run on one event loop, hundreds or thousands at once; `def` tasks in a few threads; tasks
with `cpu_bound=True` in processes. Nothing of Celery is patched. See docs/asyncio-pool.md.
"""

from holdfast.celery.pool.asyncio_pool import AsyncioPool
from holdfast.celery.pool.calls import PoolCall

__all__ = ["AsyncioPool", "PoolCall"]
