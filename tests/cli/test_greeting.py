"""What `holdfast up` says one can do now."""

import pytest
from rich.console import Console

from holdfast import Holdfast, server
from holdfast.cli.run import _greet


@pytest.fixture
def greeting():
    def greeting(url, holdfast):
        console = Console(record=True, width=200)
        _greet(console, url, None, holdfast)
        return console.export_text()

    return greeting


def test_the_document_backend_can_be_asked_at_once(greeting):
    said = greeting(server.holdfast.settings.url, server.holdfast)
    assert "holdfast ingest" in said
    assert "HOLDFAST_URL" not in said


def test_another_address_is_to_be_told_to_the_commands(greeting):
    assert "export HOLDFAST_URL=http://127.0.0.1:9000," in greeting("http://127.0.0.1:9000", server.holdfast)


def test_an_application_without_documents_is_not_asked_for_them(greeting, settings):
    said = greeting(settings.url, Holdfast(settings))
    assert "holdfast jobs list" in said
    assert "ingest" not in said
