"""What bad receivers get: a bounded try, and a line in the log."""

import time

import pytest

from factories import make_job
from holdfast.notify import Notifications
from holdfast.notify.posting import MAX_ANSWER_BYTES, MAX_KEPT, Poster
from simulated_receiver import SimulatedReceiver


@pytest.fixture
def told(session, webhook, written):
    """A notification that waits to be brought."""
    make_job(session, "completed", owner_id=webhook.owner_id)
    return written()[0]


def error_of(tried):
    return tried.error["code"]


@pytest.fixture
def poster(poster):
    return Poster(poster.allowed, seconds=1, tls=poster.tls, resolve=poster.resolve)


@pytest.mark.parametrize(
    "answer", [{"hangs": True}, {"status": 200, "body": b"x" * 1_000, "drips": True}], ids=["hangs", "drips"]
)
def test_one_that_hangs_or_drips_is_left_when_its_time_is_over(receiver, told, bring, tries, answer):
    receiver.answer_next(**answer)
    began = time.monotonic()
    assert bring(told).status == "queued"
    assert time.monotonic() - began < 5
    [tried] = tries(told)
    assert error_of(tried) == "timed_out"
    assert 0.9 < tried.seconds < 3


def test_one_that_redirects_is_not_followed(receiver, told, bring, tries):
    receiver.answer_next(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})
    bring(told)
    [tried] = tries(told)
    assert (tried.status, error_of(tried)) == (307, "redirected")
    assert len(receiver.came) == 1


def test_of_ten_megabytes_only_the_beginning_is_read(receiver, told, bring, tries):
    receiver.answer_next(status=200, body=b"a" * 10_000_000)
    assert bring(told).status == "completed"
    [tried] = tries(told)
    assert tried.answer == "a" * MAX_KEPT
    assert MAX_KEPT < MAX_ANSWER_BYTES
    # What the kernel's buffers hold, and not all of it.
    assert receiver.bytes_sent < 9_000_000


def test_what_cannot_be_stored_as_text_is_replaced(receiver, told, bring, tries):
    receiver.answer_next(status=500, body=b"\x00\xff<script>")
    bring(told)
    [tried] = tries(told)
    assert tried.answer == "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}<script>"


def test_one_that_hangs_up_without_a_word_is_tried_again(receiver, told, bring, tries):
    receiver.answer_next(closes=True)
    assert bring(told).status == "queued"
    [tried] = tries(told)
    assert error_of(tried) == "broken_off"


def test_endless_headers_are_refused(receiver, told, bring, tries):
    receiver.answer_next(status=200, headers={f"X-{number}": "x" * 10_000 for number in range(50)})
    assert bring(told).status == "queued"
    [tried] = tries(told)
    assert error_of(tried) == "broken_off"


def test_nobody_there_is_logged(session, notifications, written, bring, tries, certified):
    with SimulatedReceiver() as closed:
        url = f"https://127.0.0.1:{closed.port}/"
    make_job(session, "completed", notify={"webhook": {"url": url}})
    bring(written()[0])
    [tried] = tries(written()[0])
    assert error_of(tried) == "unreachable"


@pytest.mark.parametrize("certificate", ["other.example", None], ids=["of another name", "none at all"])
def test_certificate_is_checked_against_the_name(
    session, notifications, written, bring, tries, certified, certificate
):
    tls = None if certificate is None else certified(certificate)
    with SimulatedReceiver(tls) as receiver:
        url = f"https://hooks.example:{receiver.port}/"
        make_job(session, "completed", notify={"webhook": {"url": url}})
        assert bring(written()[0]).status == "queued"
    assert receiver.came == []
    [tried] = tries(written()[0])
    assert error_of(tried) == "tls_failed"


def test_certificate_of_an_unknown_authority_is_refused(
    session, holdfast, poster, written, bring, tries, url
):
    Notifications(holdfast, poster=Poster(poster.allowed, seconds=5, resolve=poster.resolve))
    make_job(session, "completed", notify={"webhook": {"url": url}})
    bring(written()[0])
    [tried] = tries(written()[0])
    assert error_of(tried) == "tls_failed"
    assert "CERTIFICATE_VERIFY_FAILED" in tried.error["message"]
