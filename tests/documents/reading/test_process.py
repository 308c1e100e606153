import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import psutil
import pytest

from document_files import html, pdf
from holdfast.documents.reading import ReadLimits, read_document
from holdfast.errors import DocumentError, Retry

# More text than the pipe between the processes holds, so that the reader waits for its consumer.
LONG_TEXT = b"Kelp holds fast. " * 100_000
# Lexbor takes quadratic time over nested elements.
SLOW_PAGE = html("<div>" * 200_000 + "text")


def _eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


def _children() -> list[psutil.Process]:
    """The readers that this process has; it may have other children, of tests before."""
    return [each for each in psutil.Process().children() if "-P" in each.cmdline()]


def _child() -> psutil.Process:
    (child,) = _children()
    return child


def test_the_reader_ends_with_the_document(save):
    with read_document(save(b"short", "a.txt"), "a.txt") as document:
        child = _child()
        assert [part.text for part in document.parts] == ["short"]
    assert not child.is_running()


def test_the_reader_is_killed_when_the_consumer_stops(save):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt") as document:
        next(document.parts)
        child = _child()
    assert not child.is_running()


def test_the_reader_is_killed_when_the_consumer_raises(save):
    children = []

    def consume() -> None:
        with read_document(save(LONG_TEXT, "a.txt"), "a.txt"):
            children.append(_child())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert not children[0].is_running()


READ_AND_WAIT = """
import pathlib, sys
from holdfast.documents.reading import read_document
with read_document(pathlib.Path(sys.argv[1]), "document"):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start_parent(save):
    """Start a process that opens a document; it and its reader are gone after the test."""
    started = []

    def start(content: bytes) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", READ_AND_WAIT, str(save(content, "document"))]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for parent in started:
        parent.kill()
        parent.communicate()


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_waiting_reader_dies_when_its_parent_is_killed(start_parent):
    parent = start_parent(LONG_TEXT)
    assert parent.stdout.readline() == b"open\n"
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    assert _eventually(lambda: _is_gone(child))


def test_a_parsing_reader_dies_when_its_parent_is_killed(start_parent):
    process = psutil.Process(start_parent(SLOW_PAGE).pid)
    assert _eventually(lambda: len(process.children()) == 1)
    (child,) = process.children()
    # Beyond what starting takes: the parser's own code is running.
    assert _eventually(lambda: child.cpu_times().user > 0.5)
    process.kill()
    assert _eventually(lambda: _is_gone(child))


def test_secrets_are_not_in_the_environment_of_the_reader(save, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@db/holdfast")
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt"):
        child = _child()
        assert "PATH" in child.environ()
        assert "secret" not in str(child.environ())
        assert "a.txt" not in " ".join(child.cmdline())


def test_the_reader_loads_nothing_of_holdfast_but_reading(save):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt"):
        mapped = {entry.path for entry in _child().memory_maps()}
    assert not [path for path in mapped if "sqlalchemy" in path or "pydantic" in path or "psycopg" in path]


def test_memory_limit_holds(refusal):
    limits = ReadLimits(memory_bytes=192 << 20)
    error = refusal(html("<i>a</i>" * 1_000_000), "a.html", limits)
    assert error.code == "memory_limit"
    assert "192 MiB" in error.message


def test_time_limit_holds(refusal):
    started = time.monotonic()
    assert refusal(SLOW_PAGE, "a.html", ReadLimits(wall_seconds=1)).code == "time_limit"
    assert time.monotonic() - started < 10


def test_cpu_limit_holds(refusal):
    assert refusal(SLOW_PAGE, "a.html", ReadLimits(cpu_seconds=1)).code == "time_limit"


def test_time_the_consumer_takes_is_not_counted(save):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt", ReadLimits(wall_seconds=0.5)) as document:
        next(document.parts)
        opened = time.monotonic()
        assert _eventually(lambda: time.monotonic() - opened > 0.6)
        assert sum(1 for _ in document.parts) > 10


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGSEGV, "reader_crashed"), (signal.SIGABRT, "reader_crashed")]
)
def test_a_crash_of_the_reader_is_an_error_of_the_document(save, number, code):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt") as document:
        _child().send_signal(number)
        with pytest.raises(DocumentError) as error:
            list(document.parts)
    assert error.value.code == code


def test_a_kill_from_outside_is_to_be_tried_again(save):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt") as document:
        _child().kill()
        with pytest.raises(Retry) as error:
            list(document.parts)
    assert error.value.code == "reader_killed"


def test_a_polite_signal_leaves_the_document_to_its_worker(save):
    with read_document(save(LONG_TEXT, "a.txt"), "a.txt") as document:
        _child().send_signal(signal.SIGTERM)
        assert sum(len(part.text) for part in document.parts) > 1_600_000


def test_the_reader_outlives_the_thread_that_started_it(save):
    opened = read_document(save(LONG_TEXT, "a.txt"), "a.txt")
    with ThreadPoolExecutor(1) as pool:
        document = pool.submit(opened.__enter__).result()
    assert sum(1 for _ in document.parts) > 10
    opened.__exit__(None, None, None)


def test_leaving_from_another_thread_frees_the_one_that_waits(save):
    path = save(SLOW_PAGE, "a.html")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: read_document(path, "a.html").__enter__())
        assert _eventually(lambda: bool(_children()))
        _child().kill()
        assert isinstance(waiting.exception(timeout=10), Retry)


def test_documents_are_read_in_several_threads_at_once(read, tmp_path):
    def pages(number: int) -> int:
        path = tmp_path / f"{number}.pdf"
        path.write_bytes(pdf([f"page of {number}"] * number))
        with read_document(path, path.name) as document:
            return sum(1 for _ in document.parts)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(pages, range(1, 7))) == list(range(1, 7))


def _read_in_daemon(path, pipe):
    with read_document(path, "a.txt") as document:
        pipe.send(sum(len(part.text) for part in document.parts))


def test_a_daemonic_worker_process_may_read(save):
    context = get_context("fork")
    receiver, sender = context.Pipe()
    worker = context.Process(target=_read_in_daemon, args=(save(b"kelp", "a.txt"), sender), daemon=True)
    worker.start()
    assert receiver.recv() == 4
    worker.join()


def _open_descriptors() -> int:
    return psutil.Process().num_fds()


def test_no_file_descriptors_are_left_open(read):
    read(b"kelp", "a.txt")
    before = _open_descriptors()
    for _ in range(3):
        read(b"kelp", "a.txt")
    assert _open_descriptors() == before
