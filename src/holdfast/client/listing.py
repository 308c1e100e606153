"""Lists that come in pages, read to their end."""

from typing import Final, Unpack

from holdfast.client.calls import JobFilters, list_jobs
from holdfast.client.effects import Emit, Plan
from holdfast.client.exchange import Patience, exchange

_PAGE: Final = 100


def jobs(patience: Patience, **filters: Unpack[JobFilters]) -> Plan[None]:
    """All jobs of this API key to which the filters apply, newest first, read page by page."""
    before = None
    while True:
        page = yield from exchange(list_jobs(limit=_PAGE, before=before, **filters), patience)
        for job in page.data:
            yield Emit(job)
        if not page.has_more:
            return
        before = page.last_id
