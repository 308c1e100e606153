"""Passwords stay out of what logs and tracebacks show."""

import pytest

from holdfast import Holdfast, Settings
from holdfast.errors import ConfigurationError
from holdfast.jobs.database import psycopg_url

PASSWORD = "hunter2"
SETTINGS = Settings(
    _env_file=None,
    database_url=f"postgresql://me:{PASSWORD}@db/jobs",
    redis_url=f"redis://:{PASSWORD}@cache/0",
    broker_url=f"amqp://me:{PASSWORD}@broker//",
)


@pytest.mark.parametrize(
    "shown",
    [SETTINGS, Holdfast(SETTINGS).urls, Holdfast(SETTINGS)._celery_settings()],
    ids=lambda shown: type(shown).__name__,
)
def test_what_is_configured_is_shown_without_passwords(shown):
    assert PASSWORD not in repr(shown)
    assert PASSWORD not in str(shown)


@pytest.mark.parametrize("url", [f"me:{PASSWORD}@db/jobs", f"mysql://me:{PASSWORD}@db/jobs"])
def test_wrong_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigurationError) as refused:
        psycopg_url(url)
    assert PASSWORD not in str(refused.value)
