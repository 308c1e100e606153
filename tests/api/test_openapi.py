import re

import pytest

from holdfast.api import create_app


@pytest.fixture
def schema(holdfast, documents):
    return create_app(holdfast, documents).openapi()


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


def test_every_reference_leads_somewhere(schema):
    names = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert names <= set(schema["components"]["schemas"])
