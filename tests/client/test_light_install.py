"""What runs without the server's dependencies, and what is said by what does not."""

import json
import os
import subprocess
import sys
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement

from holdfast.extras import OF_SERVER

# A program that is run where nothing can be imported that only the extra `server` brings.
LIGHT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""
MODULES = {"python-multipart": "python_multipart", "semantic-text-splitter": "semantic_text_splitter"}


def required(package, extra=""):
    """The names of what a package requires, with an extra or without."""
    all_of_it = map(Requirement, requires(package) or ())
    return {each.name for each in all_of_it if each.marker is None or each.marker.evaluate({"extra": extra})}


def of_client():
    """What comes along with the client, down to the last."""
    found, coming = set(), required("holdfast")
    while coming:
        found |= coming
        coming = set().union(*map(required, coming)) - found
    return found


def of_server():
    """The modules of the requirements that only the extra `server` has, and some that these bring along."""
    names = required("holdfast", "server") - of_client()
    return {MODULES.get(name, name) for name in names} | {"kombu", "starlette", "billiard"}


def run(program, *arguments, **environment):
    text = LIGHT.replace("MISSING", repr(of_server())) + program
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_these_are_modules_of_the_server():
    assert {"fastapi", "celery", "sqlalchemy", "psycopg", "redis"} <= of_server()
    # All of them, so that the lack of any is told with what to install.
    assert of_server() - {"tzdata"} <= OF_SERVER


def test_client_is_imported_without_the_server():
    done = run("import holdfast.client, json; print(json.dumps(sorted(sys.modules)))")
    assert done.returncode == 0, done.stderr
    assert of_server().isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("name", ["HoldfastError", "JobStatus", "JobAccepted", "RetryPolicy", "Settings"])
def test_light_names_are_there_without_the_server(name):
    done = run(f"from holdfast import {name}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("statement", ["from holdfast import Holdfast", "import holdfast.api"])
def test_parts_of_the_server_say_how_to_install_them(statement):
    done = run(statement)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Install it: pip install 'holdfast[server]'")


def test_a_module_that_is_missing_otherwise_is_told_as_ever():
    done = run("import os\nsys.meta_path.insert(0, NotInstalled())\nimport holdfast.nothing")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'holdfast.nothing'"


@pytest.mark.parametrize("command", ["keys list", "up", "worker", "api", "migrate", "queues list"])
def test_commands_of_operators_say_how_to_install_the_server(command, tmp_path):
    done = run("from holdfast.cli import main; main()", *command.split(), HOLDFAST_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "pip install 'holdfast[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_of_clients_run_without_the_server(tmp_path):
    program = "from holdfast.cli import main; main()"
    assert run(program, "--help").returncode == 0
    environment = {"HOLDFAST_API_KEY": "hf_00000000_x", "HOLDFAST_URL": "http://127.0.0.1:1"}
    for command in ("jobs list", "search kelp", f"ingest {__file__}"):
        done = run(program, *command.split(), **environment)
        assert "does not answer" in done.stderr, done.stderr
