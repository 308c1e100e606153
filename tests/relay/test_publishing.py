"""What a message to Redis is: that of Celery's own sending, in its order, however many go together."""

import orjson
import pytest
import redis
from celery.signals import before_task_publish
from kombu import Queue

from holdfast.celery.carrier import CeleryCarrier
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.ids import new_id


@pytest.fixture
def carrier(make_holdfast):
    return CeleryCarrier(make_holdfast().celery)


@pytest.fixture
def messages(redis_url, redis_prefix):
    """The messages of a queue and priority, in the order in which they are taken."""

    def look(key):
        with redis.Redis.from_url(redis_url) as client:
            found = client.lrange(f"{redis_prefix}{key}", 0, -1)
        return [orjson.loads(message) for message in reversed(found)]

    return look


def delivery(**changes):
    return Delivery(**{"id": new_id(), "task": "work", "queue": "default", "priority": 0} | changes)


def test_message_is_as_celery_would_send_it(carrier, make_holdfast, messages):
    sent = delivery()
    carrier.send([sent])
    job_id = str(sent.id)
    make_holdfast().celery.send_task("work", [job_id], task_id=job_id, queue="default", priority=0)
    ours, theirs = messages("default")
    assert ours["headers"].pop("holdfast") is True
    for message in (ours, theirs):
        del message["properties"]["delivery_tag"], message["properties"]["reply_to"]
        # A tuple's representation, or a list's; and false, or nothing.
        del message["headers"]["argsrepr"], message["headers"]["ignore_result"]
    assert ours == theirs


def test_messages_of_one_send_keep_their_order_and_their_queues(carrier, messages):
    first, urgent, elsewhere, second = (
        delivery(priority=3),
        delivery(),
        delivery(queue="other", priority=3),
        delivery(priority=3),
    )
    carrier.send([first, urgent, elsewhere, second])
    taken = {key: [message["headers"]["id"] for message in messages(key)] for key in _KEYS}
    assert taken == {
        "default\x06\x163": [str(first.id), str(second.id)],
        "default": [str(urgent.id)],
        "other\x06\x163": [str(elsewhere.id)],
    }


def test_what_listens_to_celery_may_add_to_a_message(carrier, messages):
    def add(headers, **_):
        headers["traceparent"] = "00-1-2-01"

    before_task_publish.connect(add)
    try:
        carrier.send([delivery()])
    finally:
        before_task_publish.disconnect(add)
    assert messages("default")[0]["headers"]["traceparent"] == "00-1-2-01"


def test_queue_of_the_users_own_exchange_is_reached(make_holdfast, messages):
    app = make_holdfast().celery
    app.conf.task_queues = [Queue("mine", exchange="elsewhere", routing_key="key")]
    CeleryCarrier(app).send([sent := delivery(queue="mine")])
    assert [message["headers"]["id"] for message in messages("mine")] == [str(sent.id)]


_KEYS = ("default\x06\x163", "default", "other\x06\x163")
