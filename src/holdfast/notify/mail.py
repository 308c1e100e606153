"""The channel `email`: mail by SMTP, in text and HTML."""

import re
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

import aiosmtplib
from pydantic import JsonValue

from holdfast.errors import ConfigurationError, InvalidArguments
from holdfast.notify.channel import Answer, Notice, NotSent
from holdfast.notify.letter import subject_of, written_html, written_text

# What every mail server takes; quoted names and addresses in brackets are not worth their dangers.
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
)
_PERMANENT: Final = range(500, 600)

Encryption = Literal["none", "starttls", "tls"]


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in.

    Attributes:
        encryption: `tls` from the first byte, `starttls` before anything is told, or `none`.
        tls: whom to trust; the usual authorities if not given.
    """

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    encryption: Encryption = "starttls"
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str) -> "MailServer":
        """Read `smtp://user:password@host:587` (STARTTLS), `smtps://` (TLS) or `smtp+plain://` (neither).

        Raises:
            ConfigurationError: it is none of these.
        """
        kinds: dict[str, tuple[Encryption, int]] = {
            "smtp": ("starttls", 587),
            "smtps": ("tls", 465),
            "smtp+plain": ("none", 25),
        }
        parsed = urlsplit(url)
        if parsed.scheme not in kinds or not parsed.hostname:
            raise ConfigurationError(
                "HOLDFAST_SMTP_URL is smtp://user:password@host:port, smtps:// or smtp+plain://."
            )
        encryption, port = kinds[parsed.scheme]
        given = (parsed.username, parsed.password)
        user, password = (None if part is None else unquote(part) for part in given)
        return cls(parsed.hostname, parsed.port or port, user, password, encryption)

    def __repr__(self) -> str:
        return f"<MailServer {self.host}:{self.port}>"


class MailChannel:
    """Sends notices as mail.

    Args:
        server: takes them.
        sender: whom they are from: an address.
        link: the URL of the API as people reach it; mail then links to the job.
        seconds: for the whole of it.
    """

    name = "email"

    def __init__(
        self, server: MailServer, sender: str, *, link: str | None = None, seconds: float = 30
    ) -> None:
        if _ADDRESS.fullmatch(sender) is None:
            raise ConfigurationError(
                f"HOLDFAST_MAIL_FROM is an address such as jobs@example.org, not {sender!r}."
            )
        self._server = server
        self._sender = sender
        self._link = link
        self._seconds = seconds

    def check(self, target: JsonValue) -> None:
        """Check that this is an address; raises `InvalidArguments`."""
        if not isinstance(target, str) or len(target) > 254 or _ADDRESS.fullmatch(target) is None:
            raise InvalidArguments("notify: email is an address such as me@example.org.")

    async def send(self, notice: Notice, target: JsonValue) -> Answer | None:
        """Hand the mail to the server.

        Raises:
            NotSent: it did not take it; for good if it says so (5xx).
        """
        server = self._server
        try:
            _, said = await aiosmtplib.send(
                self.letter(notice, str(target)),
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.encryption == "tls",
                start_tls=server.encryption == "starttls",
                tls_context=server.tls,
                timeout=self._seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = error.recipients[0]
            raise _refused(refused.code, refused.message) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"The mail server: {error}", code="unreachable") from error
        return Answer(text=said)

    def letter(self, notice: Notice, to: str) -> EmailMessage:
        """The mail. The same notice has the same `Message-ID`, by which readers drop a repetition."""
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = to
        message["Subject"] = subject_of(notice)
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = f"<{notice.id.hex}@{self._sender.rpartition('@')[2]}>"
        # RFC 3834: nobody's out-of-office note should answer.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(written_text(notice, self._link))
        message.add_alternative(written_html(notice, self._link), subtype="html")
        return message


def _refused(code: int, said: str) -> NotSent:
    message = f"The mail server answered {code}."
    return NotSent(message, code="refused", answer=Answer(code, said), is_final=code in _PERMANENT)
