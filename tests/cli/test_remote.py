"""What the commands make of an API that is not Holdfast's."""

import pytest

from scripted_server import Answer, scripted_server


@pytest.fixture
def stranger(environment):
    """A server of somebody else's that the commands are led to."""
    with scripted_server() as server:
        environment |= {"HOLDFAST_URL": server.url, "HOLDFAST_API_KEY": "hf_00000000_x"}
        yield server


@pytest.mark.parametrize("body", [b"<h1>It works!</h1>", b"[]", b"{}", b"null"])
def test_success_that_is_not_holdfasts_is_told(run, stranger, body):
    stranger.script = [Answer(200, body)]
    listed = run("jobs", "list")
    assert listed.returncode == 1
    assert "is not Holdfast" in listed.stderr


@pytest.mark.parametrize("body", [b"<h1>Not found</h1>", b"[]"])
def test_error_that_is_not_holdfasts_is_told_by_its_status(run, stranger, body):
    stranger.script = [Answer(404, body)]
    assert "HTTP status 404" in run("jobs", "list").stderr
