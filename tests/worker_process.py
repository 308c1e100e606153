"""A real `celery worker` in a process group of its own."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil

from waiting import wait_for


class WorkerProcess:
    """A Celery worker that was started and will be stopped, whatever it is doing.

    Args:
        environment: its whole environment.
        log: the file it writes to.
        app: the module that has the Celery application.
        arguments: for `celery worker`.
    """

    def __init__(self, environment, log, app, *arguments):
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel=info", *arguments],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def log(self):
        return self._log.read_text()

    @property
    def is_running(self):
        return self._popen.poll() is None

    def children(self):
        """The pids of its child processes, such as those of the prefork pool."""
        return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]

    def await_ready(self):
        def is_ready():
            assert self.is_running, self.log
            return " ready." in self.log

        wait_for(is_ready, "the worker's start")
        return self

    def send(self, signal_number):
        """Signal the worker's main process."""
        self._popen.send_signal(signal_number)

    def signal_all(self, signal_number):
        """Signal the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal_number)

    def wait(self, seconds=30):
        """Wait for its end; returns the exit status."""
        return self._popen.wait(seconds)

    def kill(self):
        """SIGKILL everything of it, as the loss of a machine does."""
        self.signal_all(signal.SIGKILL)
        self.wait()
