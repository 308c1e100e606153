"""What the clients offer: the same both, and all that the API takes."""

import inspect
import sys
from types import SimpleNamespace

import pytest

from holdfast.client import AsyncBatch, AsyncClient, AsyncJob, Batch, Client, Job, JobFilters, JobOptions
from holdfast.client.bars import NotebookBar, open_bar
from holdfast.jobs.queries import JobFilter
from holdfast.schemas import JobProgress, TaskRequest

# What a client closes and opens itself with has another name where it is awaited.
AWAITED = {"close": "aclose", "__enter__": "__aenter__", "__exit__": "__aexit__"}


@pytest.mark.parametrize(
    ("blocking", "awaiting"), [(Client, AsyncClient), (Job, AsyncJob), (Batch, AsyncBatch)]
)
def test_both_clients_offer_the_same(blocking, awaiting):
    def offered(kind):
        return {name: member for name, member in vars(kind).items() if inspect.isfunction(member)}

    blocking, awaiting = offered(blocking), offered(awaiting)
    assert {AWAITED.get(name, name) for name in blocking} == set(awaiting)
    for name, method in blocking.items():
        other = awaiting[AWAITED.get(name, name)]
        assert list(inspect.signature(method).parameters) == list(inspect.signature(other).parameters)
        assert name.startswith("_") or (method.__doc__ and other.__doc__)


def test_clients_take_what_the_api_takes():
    assert set(JobOptions.__annotations__) == set(TaskRequest.model_fields) - {"task"}
    assert set(JobFilters.__annotations__) == set(JobFilter.__annotations__) - {"owner_id"}


class Display:
    """Stands in for IPython's: remembers what a notebook would show."""

    def __init__(self):
        self.shown = []

    def __call__(self, thing, *, display_id):
        assert display_id
        self.update(thing)
        return self

    def update(self, thing):
        self.shown.append(thing._repr_html_())


def test_a_notebook_shows_an_element_and_what_jobs_say_as_text(monkeypatch):
    display = Display()
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    with open_bar() as bar:
        assert isinstance(bar, NotebookBar)
        bar.show("processing", JobProgress(current=40, total=129, message="<script>"))
        bar.show("completed", None)
    assert display.shown == [
        "<progress></progress> queued",
        "<progress value='40' max='129'></progress> processing 40/129 &lt;script&gt;",
        "<progress value='40' max='129'></progress> completed 40/129 &lt;script&gt;",
    ]
