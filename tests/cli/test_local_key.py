"""The key that the commands beside `holdfast up` use."""

import pytest

from factories import make_owner
from holdfast.cli.local_key import key_file, make_local_key
from holdfast.jobs import keys


@pytest.fixture
def kept(settings):
    return key_file(settings)


def test_key_is_made_beside_the_keys_of_others(holdfast, session, kept):
    make_owner(session, "alice")
    token = make_local_key(holdfast)

    assert kept.read_text().strip() == token
    assert keys.find_owner(session, token).name == "local"


def test_valid_key_is_left_alone(holdfast, kept):
    token = make_local_key(holdfast)

    assert make_local_key(holdfast) is None
    assert kept.read_text().strip() == token


def test_key_of_another_database_is_replaced_by_a_private_one(holdfast, session, kept):
    kept.parent.mkdir()
    kept.write_text("hf_00000000_of-another-database\n")
    kept.chmod(0o644)
    token = make_local_key(holdfast)

    assert keys.find_owner(session, kept.read_text().strip()) is not None
    assert kept.read_text().strip() == token
    assert kept.stat().st_mode & 0o077 == 0
    assert list(kept.parent.iterdir()) == [kept]


def test_key_that_cannot_be_kept_is_not_made(holdfast, session, kept):
    kept.parent.touch()
    with pytest.raises(OSError, match="home"):
        make_local_key(holdfast)

    assert keys.list_keys(session) == []
