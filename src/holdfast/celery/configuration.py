"""How Celery is set up, and why. Figures are from the sources of celery and kombu 5.7."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

# A delivery is needed until its job is claimed, which is a matter of milliseconds; from then on the lease
# in PostgreSQL stands for it. So the time after which Redis gives an unacknowledged message to somebody else
# may be short: a redelivered job that still runs is found processing, and the message ends there. An hour,
# kombu's default, would leave a job whose worker died between delivery and claim waiting that long.
VISIBILITY_TIMEOUT_SECONDS = 60

SOCKET_TIMEOUT_SECONDS = 5
RESULT_EXPIRES_SECONDS = 3600


@dataclass(frozen=True)
class CelerySettings:
    """What the Celery app is made from.

    Attributes:
        redis_url: the result backend, and the broker unless another is named.
        broker_url: another broker, such as `amqp://`.
        key_prefix: prefix of every key Celery writes to Redis.
        threads, processes: those of the asyncio pool; its own defaults if not given.
    """

    redis_url: str = field(repr=False)
    broker_url: str | None = field(repr=False)
    key_prefix: str
    threads: int | None = None
    processes: int | None = None


def configuration(settings: CelerySettings) -> dict[str, Any]:
    """Celery's settings, each with the reason where it is not obvious."""
    redis_url = kombu_url(settings.redis_url)
    broker_url = settings.broker_url or redis_url
    on_redis = broker_url.startswith(("redis", "valkey"))
    return {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": _redis_transport(settings.key_prefix) if on_redis else {},
        # Holdfast needs two, one to publish and one for the relay. Flower has a thread for each of its looks
        # at the workers, every one of which holds a connection while it takes another.
        "broker_pool_limit": 32,
        "result_backend": redis_url,
        "result_expires": RESULT_EXPIRES_SECONDS,
        "result_backend_transport_options": {
            "global_keyprefix": settings.key_prefix,
            # The result is in PostgreSQL already; a Redis that is away must not hold a worker's slot.
            "retry_policy": {"max_retries": 1, "interval_start": 0.2},
        },
        "redis_socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "redis_socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "redis_retry_on_timeout": False,
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_default_queue": "default",
        "task_default_priority": 5,
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # Uncapped in Celery; the cap is `max_crashes` in PostgreSQL, and a redelivery past it finds no job.
        "task_reject_on_worker_lost": True,
        # A dead child gives its slot back after so many seconds; Celery would wait ten for its result.
        "worker_lost_wait": 1,
        "task_track_started": True,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2, "interval_max": 0.5},
        "asyncio_pool_threads": settings.threads,
        "asyncio_pool_processes": settings.processes,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        # Flower turns them on by itself. With nobody to read them they took a tenth of a busy worker's time.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "timezone": "UTC",
        "enable_utc": True,
    }


def kombu_url(redis_url: str) -> str:
    """A redis-py URL as Celery's transport and result backend spell it.

    `unix:///path?db=1` becomes `redis+socket:///path?virtual_host=1`; `rediss://` gets the certificate check
    that redis-py has by default and Celery insists on seeing.
    """
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        database = parse_qs(parts.query).get("db", ["0"])[0]
        return f"redis+socket://{parts.path}?virtual_host={database}"
    if parts.scheme == "valkey":
        return urlunsplit(parts._replace(scheme="redis"))
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parts.query:
        query = "&".join(filter(None, [parts.query, "ssl_cert_reqs=required"]))
        return urlunsplit(parts._replace(query=query))
    return redis_url


def _redis_transport(key_prefix: str) -> dict[str, Any]:
    return {
        "global_keyprefix": key_prefix,
        "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
        # Look for messages of dead workers every second instead of every hundred or so.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # In turns those of one priority: a backlog of the first queue would keep the next one waiting.
        "queue_order_strategy": "round_robin",
        # A list for each priority; by default kombu has four for all ten.
        "priority_steps": list(range(10)),
    }
