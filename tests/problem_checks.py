"""What every problem must be."""


def assert_problem(response, status, code):
    """Check an RFC 9457 problem; returns its body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["code"] == code
    assert body["type"] == f"urn:holdfast:problem:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert isinstance(body["retryable"], bool)
    return body
