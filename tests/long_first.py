"""The order of tests that several processes share: those that take long begin first.

pytest-xdist gives each process a stretch of the tests, all of one length; one that is done steals from the
end of another's. In the order of their names the last test of a stretch may take a minute, and nobody can
steal the test that is next: the others would wait for it. So each stretch begins with its share of the long
ones and ends with short ones. The tests of a file stay together, as they share what they have started.
"""

from itertools import chain, groupby, islice

# Long are tests with a limit of their own, those that ask for what takes seconds to start, and these.
STARTS = {"start_worker", "make_app", "holdfast_worker", "chromium"}
LONG = {"engines", "test_server.py", "test_readme.py"}


def long_first(items, processes):
    """The tests in the order for so many processes."""
    files = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    long = sorted(filter(_seconds, files), key=_seconds, reverse=True)
    short = chain.from_iterable(tests for tests in files if not _seconds(tests))
    stretches = [[] for _ in range(processes)]
    for tests in long:
        min(stretches, key=len).extend(tests)
    for number, stretch in enumerate(stretches):
        size = len(items) * (number + 1) // processes - len(items) * number // processes
        stretch.extend(islice(short, max(0, size - len(stretch))))
    return [*chain.from_iterable(stretches), *short]


def _seconds(tests):
    """The longest limit of a file's tests, 1 if those that are long have none; 0: all are short."""
    return max(map(_seconds_of, tests))


def _seconds_of(item):
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return marker.args[0]
    return 1 if STARTS.intersection(item.fixturenames) or LONG.intersection(item.path.parts) else 0
