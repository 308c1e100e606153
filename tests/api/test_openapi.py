import json
import re

import pytest
from pydantic import TypeAdapter

from holdfast.api import (
    create_app,
    get_batches_router,
    get_documents_router,
    get_events_router,
    get_health_router,
    get_jobs_router,
    get_notifications_router,
    get_queues_router,
    get_search_router,
    get_webhooks_router,
)


@pytest.fixture
def schema(holdfast, documents, notifications):
    return create_app(holdfast, documents, notifications).openapi()


def operations(schema):
    return [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def test_operation_ids_are_the_names_of_functions(schema):
    ids = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in ids)


def test_every_operation_is_tagged_described_and_secured(schema):
    tags = {tag["name"] for tag in schema["tags"]}
    for path, _, operation in operations(schema):
        assert set(operation["tags"]) <= tags
        assert operation["description"]
        secured = [] if path in ("/healthz", "/readyz") else [{"ApiKey": []}, {"Bearer": []}]
        assert operation.get("security", []) == secured


def test_every_error_is_documented_as_a_problem(schema):
    for path, _, operation in operations(schema):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], path
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_the_upload_form_is_documented(schema):
    body = schema["paths"]["/v1/documents/ingest"]["post"]["requestBody"]
    properties = body["content"]["multipart/form-data"]["schema"]["properties"]
    assert properties["file"]["format"] == "binary"
    assert properties["collection"]["default"] == "default"


@pytest.mark.parametrize(
    ("path", "ended"),
    [
        ("/v1/jobs", "EndedJob"),
        ("/v1/jobs/{job_id}/retry", "EndedJob"),
        ("/v1/batches", "EndedBatch"),
        ("/v1/documents/ingest", "EndedDocument"),
    ],
)
def test_what_accepts_work_says_that_it_may_be_waited_for(schema, path, ended):
    operation = schema["paths"][path]["post"]
    assert "Prefer" in [each["name"].title() for each in operation["parameters"]]
    answer = operation["responses"]["200"]
    assert "Preference-Applied" in answer["headers"]
    assert f"#/components/schemas/{ended}" in str(answer["content"]["application/json"]["schema"])


def test_every_reference_leads_somewhere(schema):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert names <= set(schema["components"]["schemas"])


def test_every_request_and_answer_has_an_example(schema):
    for path, method, operation in operations(schema):
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in (*bodies, *operation["responses"].values()):
            for content in body.get("content", {}).values():
                assert has_example(schema, content), f"{method} {path}"


def has_example(schema, content):
    """Whether there is an example of the whole, or of all that must be in a problem."""
    if "example" in content:
        return True
    model = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return "examples" in model or all("examples" in model["properties"][name] for name in model["required"])


def test_examples_are_what_the_api_answers():
    routers = (
        get_jobs_router(),
        get_batches_router(),
        get_queues_router(),
        get_webhooks_router(),
        get_notifications_router(),
        get_documents_router(),
        get_events_router(),
        get_search_router(),
        get_health_router(),
    )
    shown = 0
    for route in (route for router in routers for route in router.routes):
        # As they were given: the schema leaves null out.
        answer = route.responses.get(route.status_code or 200)
        if answer is not None and "application/json" in answer["content"]:
            example = answer["content"]["application/json"]["example"]
            model = TypeAdapter(route.response_model)
            assert model.dump_python(model.validate_json(json.dumps(example)), mode="json") == example
            shown += 1
    assert shown == 34
