"""Notifications of a test's application, and receivers that its certificates are made for."""

import ssl

import pytest
import trustme
from sqlalchemy import select

from factories import make_owner
from holdfast.jobs.models import Job
from holdfast.notify import Allowed, Notifications, endpoints
from holdfast.notify.models import Notification, NotificationTry
from holdfast.notify.posting import Poster
from holdfast.testing import run_job
from simulated_receiver import SimulatedReceiver

HOST = "hooks.example"
LOOPBACK = Allowed.parse("127.0.0.0/8")


async def resolve_here(host, port):
    """Names of the tests lead to this machine."""
    return ["127.0.0.1"]


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority):
    """Whom a poster of the tests trusts."""
    authority.configure_trust(context := ssl.create_default_context())
    return context


@pytest.fixture(scope="session")
def certified(authority):
    """Makes the TLS of a server with a certificate for this name."""

    def make(name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    return make


@pytest.fixture
def receiver(certified):
    with SimulatedReceiver(certified(HOST)) as receiver:
        yield receiver


@pytest.fixture
def url(receiver):
    return f"https://{HOST}:{receiver.port}/hook"


@pytest.fixture
def poster(trusting):
    return Poster(LOOPBACK, seconds=5, tls=trusting, resolve=resolve_here)


@pytest.fixture
def notifications(holdfast, poster):
    return Notifications(holdfast, poster=poster)


@pytest.fixture
def owner(session):
    return make_owner(session)[0]


@pytest.fixture
def webhook(session, owner, notifications, url):
    """An endpoint that is told everything."""
    webhook, _ = endpoints.add_webhook(session, owner.id, url=url, events=endpoints.EVENTS)
    session.commit()
    return webhook


@pytest.fixture
def written(session):
    """The notifications that are committed, oldest first."""

    def written():
        session.rollback()
        return session.scalars(select(Notification).order_by(Notification.id)).all()

    return written


@pytest.fixture
def bring(holdfast, session):
    """Run one attempt of the newest job that brings a notification; returns that job's row."""

    def bring(notification):
        session.rollback()
        mine = Job.args["notification_id"].as_string() == str(notification.id)
        newest = select(Job.id).where(mine).order_by(Job.id.desc()).limit(1)
        row = run_job(holdfast, session.execute(newest).scalar_one())
        session.rollback()
        session.refresh(notification)
        return row

    return bring


@pytest.fixture
def tries(session):
    def tries(notification):
        session.rollback()
        mine = select(NotificationTry).where(NotificationTry.notification_id == notification.id)
        return session.scalars(mine.order_by(NotificationTry.id)).all()

    return tries
