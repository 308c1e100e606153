"""What waits in a broker, read past Celery."""

from uuid import UUID

import orjson


def waiting_jobs(client, prefix):
    """The ids of the jobs whose messages wait in a queue, each as often as it waits there; sorted."""
    lists = [key for key in client.scan_iter(f"{prefix}*", count=1000) if client.type(key) == b"list"]
    messages = [orjson.loads(message) for key in lists for message in client.lrange(key, 0, -1)]
    return sorted(UUID(message["headers"]["id"]) for message in messages)


def delete_keys(client, prefix):
    """Forget everything under the prefix, as a flush of a Redis of its own would."""
    keys = list(client.scan_iter(f"{prefix}*", count=1000))
    if keys:
        client.delete(*keys)
