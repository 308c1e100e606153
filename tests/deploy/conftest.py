import pytest


@pytest.fixture(scope="session")
def holdfast_routes():
    from holdfast.server import create

    return create().openapi()["paths"].keys()
