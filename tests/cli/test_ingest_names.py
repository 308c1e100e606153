"""What the documents of `holdfast ingest` are called: no two alike."""

import pytest

from holdfast.cli import documents
from holdfast.errors import ConfigurationError


@pytest.fixture
def named(tmp_path, monkeypatch):
    """The names and the files that `ingest` takes paths for, below a folder `work` with some documents."""
    work = tmp_path / "work"
    for name in ("README.md", "docs/README.md", "docs/guide/README.md", "docs/guide/left out.bin"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("Kelp.")
    monkeypatch.chdir(work)

    def named(*paths):
        found = documents._named(map(type(work), paths))
        return {name: str(path.resolve().relative_to(work)) for name, path in found.items()}

    return named


def test_files_of_a_folder_are_named_by_their_way_there(named):
    assert named("README.md", "docs") == {
        "README.md": "README.md",
        "docs > README.md": "docs/README.md",
        "docs > guide > README.md": "docs/guide/README.md",
    }


def test_a_folder_may_be_named_in_any_way(named):
    assert named("docs") == named("docs/guide/..") == named("./docs/")
    assert set(named(".")) == {
        "work > README.md",
        "work > docs > README.md",
        "work > docs > guide > README.md",
    }


def test_hidden_files_of_a_folder_are_left_out(named, tmp_path):
    for name in (".hidden.md", ".venv/licence.txt", "docs/.cache/page.html"):
        (tmp_path / "work" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "work" / name).write_text("Kelp.")
    assert len(named(".")) == 3
    assert named(".hidden.md") == {".hidden.md": ".hidden.md"}


def test_files_that_would_replace_each_other_are_told(named):
    with pytest.raises(ConfigurationError, match=r"docs/README.md would both be called 'README.md'"):
        named("README.md", "docs/README.md")


def test_a_file_may_be_named_twice(named):
    assert named("README.md", "./README.md") == {"README.md": "README.md"}


def test_a_folder_without_documents_is_told(named, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="No file"):
        documents._named([tmp_path / "empty"])
