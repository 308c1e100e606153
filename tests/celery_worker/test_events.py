"""What watchers of jobs are told by real workers, on each pool."""

import json

import pytest
import redis

from holdfast.jobs.events import ATTEMPT
from waiting import wait_for


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_a_worker_tells_what_its_jobs_say_and_become(start_worker, enqueue, settings, pool):
    start_worker(pool=pool)
    with redis.Redis.from_url(settings.redis_url) as client:
        listener = client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe(f"{settings.key_prefix}news")
        listener.get_message(timeout=1)
        job_id = enqueue("speak", words=["Kelp ", "grows ", "fast."])
        news = []

        def has_ended():
            message = listener.get_message(timeout=0.1)
            news.extend(json.loads(message["data"]) if message else [])
            return [each[3] for each in news if each[0] == str(job_id)] == ["job.started", "job.completed"]

        wait_for(has_ended, "news of the job's start and end")
        entries = client.xrange(f"{settings.key_prefix}events:{job_id}")
    told = [fields[b"event"].split(b" ", 2) for _, fields in entries]
    assert [int(event_id) for event_id, *_ in told] == [ATTEMPT + n for n in range(1, len(told) + 1)]
    assert "".join(json.loads(data)["text"] for _, _, data in told) == "Kelp grows fast."
