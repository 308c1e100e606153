"""Progress where Redis does not take it: it is passed over, and says nothing of the job."""

import json
import socket
import time

import redis
from pydantic import SecretStr

from holdfast import Holdfast
from holdfast.celery.progress import show_progress
from holdfast.engines import EmbeddedEngines
from holdfast.jobs.ids import new_id
from holdfast.live.progress import WRITE_TIMEOUT_SECONDS

PROGRESS = {"current": 1, "total": 2, "message": None}


def test_full_redis_is_passed_over(settings, tmp_path):
    with EmbeddedEngines(tmp_path / "valkey", postgres=False) as urls:
        with redis.Redis.from_url(urls.redis_url) as client:
            client.config_set("maxmemory", 1)
        application = Holdfast(settings.model_copy(update={"redis_url": urls.redis_url}))

        show_progress(application.celery, {new_id(): PROGRESS})


def test_redis_that_is_away_is_passed_over_with_another_broker(settings):
    away = {"redis_url": "redis://127.0.0.1:1/0", "broker_url": SecretStr("amqp://127.0.0.1:1//")}
    application = Holdfast(settings.model_copy(update=away))

    show_progress(application.celery, {new_id(): PROGRESS})


def test_hung_redis_is_waited_for_once_and_shortly(settings):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        application = Holdfast(settings.model_copy(update={"redis_url": url}))

        began = time.monotonic()
        for _ in range(5):
            application._show_progress({new_id(): PROGRESS})
        assert time.monotonic() - began < 2 * WRITE_TIMEOUT_SECONDS


def test_numbers_of_any_size_are_shown(settings, redis_url, redis_prefix):
    job_id = new_id()
    Holdfast(settings)._show_progress({job_id: {"current": 2**70, "total": None, "message": None}})

    with redis.Redis.from_url(redis_url) as client:
        assert json.loads(client.get(f"{redis_prefix}progress:{job_id}"))["current"] == 2**70
