"""Channels of one's own: a small class, whose failures are tried again as others are."""

import pytest

from factories import make_job
from holdfast.errors import ConfigurationError, InvalidArguments, PermanentError
from holdfast.notify import Answer, NotSent


class Chat:
    """A channel as users write it."""

    name = "chat"

    def __init__(self):
        self.said = []
        self.failures = []

    def check(self, target):
        if not isinstance(target, str):
            raise InvalidArguments("chat is the name of a room.")

    async def send(self, notice, target):
        if self.failures:
            raise self.failures.pop(0)
        self.said.append((target, notice.summary))
        return Answer(text="posted")


@pytest.fixture
def chat(notifications):
    notifications.add(chat := Chat())
    return chat


@pytest.fixture
def work(holdfast, notifications):
    @holdfast.task
    def work(job) -> None: ...

    return work


def test_job_is_told_by_it(session, chat, written, bring, tries):
    claim = make_job(session, "completed", notify={"chat": "operations"})
    told = written()[0]
    assert bring(told).result == "delivered"
    assert chat.said == [("operations", f"Job {claim.id} of work: completed")]
    assert tries(told)[0].answer == "posted"


def test_target_is_checked_when_the_job_is_submitted(session, chat, work):
    with pytest.raises(InvalidArguments, match="name of a room"):
        work.enqueue(session, notify={"chat": 7})
    with pytest.raises(InvalidArguments, match="name of a room"):
        work.enqueue_many(session, [{}], notify={"chat": 7})


def test_channel_that_there_is_not_is_refused(session, chat, work):
    with pytest.raises(InvalidArguments, match="no channel 'pigeon' here, but webhook, chat"):
        work.enqueue(session, notify={"pigeon": "coop"})


def test_target_that_cannot_be_stored_is_refused(session, chat, work):
    with pytest.raises(InvalidArguments, match="not storable"):
        work.enqueue(session, notify={"chat": "a\x00b"})


def test_application_without_notifications_has_no_channels(session, holdfast):
    @holdfast.task
    def work(job) -> None: ...

    with pytest.raises(InvalidArguments, match="but none at all"):
        work.enqueue(session, notify={"webhook": {"url": "https://example.org"}})


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (NotSent("busy", code="busy"), "queued", "busy"),
        (ZeroDivisionError("as asked"), "queued", "channel_error"),
        (PermanentError("no such room"), "failed", "channel_error"),
        (NotSent("no such room", is_final=True), "failed", "not_sent"),
    ],
    ids=str,
)
def test_failure_is_logged_and_tried_again_unless_it_is_final(
    session, chat, written, bring, tries, failure, status, code
):
    chat.failures = [failure]
    make_job(session, "completed", notify={"chat": "operations"})
    told = written()[0]
    assert bring(told).status == status
    [tried] = tries(told)
    assert tried.error["code"] == code


def test_name_that_is_taken_is_refused(notifications, chat):
    with pytest.raises(ConfigurationError):
        notifications.add(Chat())


def test_channel_that_was_taken_away_is_told_in_the_log(session, chat, notifications, written, bring, tries):
    make_job(session, "completed", notify={"chat": "operations"})
    del notifications._channels["chat"]
    told = written()[0]
    assert bring(told).status == "queued"
    assert tries(told)[0].error["code"] == "no_channel"
