"""How a POST that makes jobs is answered: 202 with where to follow them, 200 when they were there already.

@app.post("/v1/summaries", status_code=202)
async def create(
    body: SummaryRequest, owner: Owner, session: Session, key: IdempotencyKey, response: Response
) -> JobAccepted:
    accepted = await summarize.enqueue(session, owner=owner, idempotency_key=key, text=body.text)
    return answer_with(response, accepted)
"""

from typing import Annotated, Any, Final, TypeVar

from fastapi import Header
from starlette.responses import Response

from holdfast.api.dependencies import PRIVATE
from holdfast.api.examples import answers
from holdfast.jobs.accepted import BatchAccepted, JobAccepted
from holdfast.jobs.idempotency import KEPT, KEY_PATTERN, MAX_KEY_LENGTH
from holdfast.states import JobStatus

Accepted = TypeVar("Accepted", JobAccepted, BatchAccepted)

_KEPT_HOURS: Final = int(KEPT.total_seconds() // 3600)
_DESCRIPTION: Final = (
    f"Stands for this request for {_KEPT_HOURS} hours: sent again with the same content, it is answered with "
    "what the first one made and 200, whatever has become of that; with other content it is refused "
    "(`idempotency_conflict`). Belongs to the API key and the task."
)


# Not a dependency of its own, which costs as much as the rest of a request's checking.
IdempotencyKey = Annotated[
    str | None,
    Header(
        default_factory=lambda: None,
        alias="Idempotency-Key",
        description=_DESCRIPTION,
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        pattern=KEY_PATTERN,
        examples=["3f6c1b9e-order-7781"],
    ),
]
"""The request's `Idempotency-Key`, for `enqueue` and `enqueue_many`; `None` without one. What cannot be a key
is refused as not valid.
"""


def answer_with(response: Response, accepted: Accepted) -> Accepted:
    """Say where accepted work can be followed, and 200 if an earlier request with the key made it.

    No cache on the way may keep it.
    """
    response.headers.update(PRIVATE)
    is_job = isinstance(accepted, JobAccepted)
    response.headers["Location"] = accepted.urls["job" if is_job else "batch"]
    if not accepted.created:
        response.status_code = 200
    if not (isinstance(accepted, JobAccepted) and JobStatus(accepted.status).is_terminal):
        response.headers["Retry-After"] = "1"
    return accepted


def accepted_answers(example: dict[str, Any], what: str, ended: object) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that accepts work: 202 for new work, 200 for what was asked for before, and
    for what has ended while the answer waited (`Prefer`), of the model `ended`.
    """  # noqa: D205 - one sentence
    headers = {
        "Location": {"description": f"The {what}.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until to ask.", "schema": {"type": "integer"}},
    }
    preferred = {"description": "The `wait` that was held to, if it was.", "schema": {"type": "string"}}
    said = f"The {what} that an earlier request with this `Idempotency-Key` made, or that has ended in time"
    return {
        **answers(202, example, headers=headers),
        **answers(
            200,
            {**example, "created": False},
            model=ended,
            description=said,
            headers={**headers, "Preference-Applied": preferred},
        ),
    }
