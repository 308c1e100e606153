"""`/v1/search`: passages of documents."""

from fastapi import APIRouter
from starlette.requests import Request

from holdfast.api import examples
from holdfast.api.dependencies import Owner, Session
from holdfast.api.examples import answers
from holdfast.api.limited_bodies import LimitedBodyRoute
from holdfast.api.openapi import operation_id, problem_responses
from holdfast.api.problems import Refused
from holdfast.api.services import documents_of
from holdfast.schemas import SearchRequest, SearchResults


def get_search_router() -> APIRouter:
    """The route `/v1/search`, for an application with documents attached."""
    router = APIRouter(
        prefix="/v1",
        tags=["search"],
        generate_unique_id_function=operation_id,
        route_class=LimitedBodyRoute,
    )
    router.post(
        "/search",
        responses={
            **answers(200, examples.SEARCH_RESULTS),
            **problem_responses(400, 401, 404, 413, 422, 502, 503),
        },
    )(search_documents)
    return router


async def search_documents(
    body: SearchRequest, request: Request, owner: Owner, session: Session
) -> SearchResults:
    """Find the passages of a collection that answer a query best."""
    result = await documents_of(request).search(
        session, owner, query=body.query, collection=body.collection, limit=body.limit
    )
    if result is None:
        raise Refused("collection_not_found", "This API key has no collection of this name.")
    return SearchResults(mode=result.mode, data=result.hits)
