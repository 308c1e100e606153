"""Progress where Redis does not take it: it is passed over, and says nothing of the job."""

import json

import redis
from pydantic import SecretStr

from holdfast import Holdfast
from holdfast.engines import EmbeddedEngines
from holdfast.jobs.ids import new_id

PROGRESS = {"current": 1, "total": 2, "message": None}


def test_full_redis_is_passed_over(settings, tmp_path):
    with EmbeddedEngines(tmp_path / "valkey", postgres=False) as urls:
        with redis.Redis.from_url(urls.redis_url) as client:
            client.config_set("maxmemory", 1)
        application = Holdfast(settings.model_copy(update={"redis_url": urls.redis_url}))

        application._show_progress({new_id(): PROGRESS})


def test_redis_that_is_away_is_passed_over_with_another_broker(settings):
    away = {"redis_url": "redis://127.0.0.1:1/0", "broker_url": SecretStr("amqp://127.0.0.1:1//")}
    application = Holdfast(settings.model_copy(update=away))

    application._show_progress({new_id(): PROGRESS})


def test_numbers_of_any_size_are_shown(settings, redis_url, redis_prefix):
    job_id = new_id()
    Holdfast(settings)._show_progress({job_id: {"current": 2**70, "total": None, "message": None}})

    with redis.Redis.from_url(redis_url) as client:
        assert json.loads(client.get(f"{redis_prefix}progress:{job_id}"))["current"] == 2**70
