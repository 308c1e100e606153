from datetime import timedelta

import pytest

from holdfast.ai import OpenAIEmbedder
from simulated_provider import SimulatedProvider


@pytest.fixture(scope="module")
def running_provider():
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider):
    running_provider.reset()
    yield running_provider
    running_provider.release()


@pytest.fixture
def make_embedder(provider):
    made = []

    def make(**changes) -> OpenAIEmbedder:
        settings = {
            "base_url": provider.base_url,
            "api_key": provider.api_key,
            "model": "text-embedding-3-small",
            "dimensions": provider.dimensions,
            "timeout": timedelta(seconds=10),
        }
        made.append(OpenAIEmbedder(**(settings | changes)))
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


@pytest.fixture
def embedder(make_embedder):
    return make_embedder()
