"""Mail, as a real SMTP server on loopback takes it."""

import asyncio
import email.policy
import ssl
import threading
from datetime import UTC, datetime
from email.parser import BytesParser

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from factories import ERROR, make_job, start_job
from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.jobs import store
from holdfast.jobs.ids import new_id
from holdfast.notify import MailChannel, MailServer, Notice

TO = {"email": "me@example.org"}


class Mailbox:
    """Keeps what came, and answers as it is told to."""

    def __init__(self):
        self.came = []
        self.answers = []

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd calls it
        self, server, session, envelope, address, options
    ):
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - likewise
        parsed = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        self.came.append((session.auth_data, session.ssl is not None, envelope, parsed))
        return "250 kept"


@pytest.fixture
def mailbox():
    return Mailbox()


class Server:
    """aiosmtpd on a port that is free, which its own controller cannot look for."""

    def __init__(self, mailbox, ssl_context=None, **options):
        self._loop = asyncio.new_event_loop()
        made = self._loop.create_server(
            lambda: SMTP(mailbox, loop=self._loop, **options), "127.0.0.1", 0, ssl=ssl_context
        )
        self._server = self._loop.run_until_complete(made)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self):
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self):
        self._server.close()
        open_ends = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_ends:
            task.cancel()
        await asyncio.gather(*open_ends, return_exceptions=True)


@pytest.fixture
def start_server(mailbox):
    """Start an SMTP server that keeps its mail in `mailbox`; returns its port."""
    servers = []

    def start(**options):
        servers.append(server := Server(mailbox, **options))
        return server.port

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def mail(notifications, start_server):
    server = MailServer("127.0.0.1", start_server(), encryption="none")
    notifications.add(MailChannel(server, "jobs@example.net", link="https://jobs.example.net/"))


def test_failure_is_told_in_text_and_html(session, mail, mailbox, written, bring):
    claim = start_job(session, task="summarize", notify=TO)
    store.fail(
        session, claim, {**ERROR, "message": "<script>alert(1)</script>\r\nBcc: all@example.org"}, None
    )
    session.commit()
    assert bring(written()[0]).status == "completed"

    [(_, _, envelope, letter)] = mailbox.came
    assert envelope.rcpt_tos == ["me@example.org"]
    assert (letter["From"], letter["To"]) == ("jobs@example.net", "me@example.org")
    assert letter["Subject"] == "summarize failed"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Bcc"] is None
    text = letter.get_body(("plain",)).get_content()
    html = letter.get_body(("html",)).get_content()
    assert f"https://jobs.example.net/v1/jobs/{claim.id}" in text
    assert "task_error: <script>" in text
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_hostile_task_name_stays_in_its_line(session, mail, mailbox, written, bring):
    claim = start_job(session, task="a\r\nBcc: all@example.org\u2028<b>", notify=TO)
    store.complete(session, claim, 1, None)
    session.commit()
    bring(written()[0])
    [(_, _, _, letter)] = mailbox.came
    assert letter["Bcc"] is None
    assert letter["Subject"] == "a Bcc: all@example.org <b> completed"
    assert "<b>" not in letter.get_body(("html",)).get_content()


def test_mail_that_is_sent_again_is_known_by_its_message_id(
    session, mail, mailbox, written, bring, notifications
):
    make_job(session, "completed", notify=TO)
    told = written()[0]
    bring(told)
    notifications.redeliver(session, told)
    session.commit()
    bring(told)
    first, second = (letter["Message-ID"] for *_, letter in mailbox.came)
    assert first == second == f"<{told.id.hex}@example.net>"


def test_server_that_refuses_for_now_is_tried_again_and_one_that_refuses_for_good_is_not(
    session, mail, mailbox, written, bring, tries
):
    mailbox.answers = ["451 later", "550 there is no such mailbox"]
    make_job(session, "completed", notify=TO)
    make_job(session, "completed", notify=TO)
    later, never = written()
    assert bring(later).status == "queued"
    assert bring(never).status == "failed"
    assert [tries(told)[0].status for told in (later, never)] == [451, 550]
    assert never.status == "failed"


def test_server_that_is_away_is_tried_again(session, notifications, written, bring, tries):
    notifications.add(MailChannel(MailServer("127.0.0.1", 1, encryption="none"), "jobs@example.net"))
    make_job(session, "completed", notify=TO)
    assert bring(written()[0]).status == "queued"
    assert tries(written()[0])[0].error["code"] == "unreachable"


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_password_is_told_under_tls(
    session, notifications, start_server, mailbox, certified, trusting, written, bring, encryption
):
    context = certified("localhost")
    options = {"tls_context": context, "require_starttls": True} if encryption == "starttls" else {}
    if encryption == "tls":
        options = {"ssl_context": context, "auth_require_tls": False}
    port = start_server(
        authenticator=lambda server, session, envelope, mechanism, data: AuthResult(
            success=data.password == b"secret", auth_data=data.login
        ),
        **options,
    )
    server = MailServer("localhost", port, "me", "secret", encryption=encryption, tls=trusting)
    notifications.add(MailChannel(server, "jobs@example.net"))
    make_job(session, "completed", notify=TO)
    assert bring(written()[0]).status == "completed"
    assert mailbox.came[0][0] == b"me"


def test_server_whose_certificate_is_bad_is_not_told_the_password(
    session, notifications, start_server, mailbox, certified, written, bring, tries
):
    port = start_server(tls_context=certified("localhost"), require_starttls=True)
    server = MailServer("localhost", port, "me", "secret", tls=ssl.create_default_context())
    notifications.add(MailChannel(server, "jobs@example.net"))
    make_job(session, "completed", notify=TO)
    assert bring(written()[0]).status == "queued"
    assert mailbox.came == []


@pytest.mark.parametrize(
    "target",
    [
        "",
        "me",
        "me@",
        "a b@example.org",
        "me@example.org\r\nBcc: x@example.org",
        "<me@example.org>",
        ["a@b"],
        7,
    ],
)
def test_target_that_is_no_address_is_refused(target):
    channel = MailChannel(MailServer("127.0.0.1", 25), "jobs@example.net")
    with pytest.raises(InvalidArguments):
        channel.check(target)


def test_server_is_read_from_its_url():
    server = MailServer.parse("smtps://me%40example.org:p%2Fw@mail.example.org")
    assert (server.host, server.port, server.encryption) == ("mail.example.org", 465, "tls")
    assert (server.user, server.password) == ("me@example.org", "p/w")
    assert "p/w" not in repr(server)
    assert MailServer.parse("smtp://h").encryption == "starttls"
    assert MailServer.parse("smtp+plain://h:2525").port == 2525
    with pytest.raises(ConfigurationError):
        MailServer.parse("https://mail.example.org")


def test_batch_is_told_by_its_counts():
    channel = MailChannel(MailServer("127.0.0.1", 25), "jobs@example.net")
    counts = {"completed": 2, "failed": 1, "cancelled": 0}
    data = {"id": "b", "total": 3, "counts": counts, "url": "/v1/batches/b"}
    letter = channel.letter(Notice(new_id(), "batch.ended", datetime.now(UTC), data), "me@example.org")
    assert letter["Subject"] == "Batch of 3 jobs: 2 completed, 1 failed"
