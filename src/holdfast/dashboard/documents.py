"""The documents of the key that is signed in: uploads, lists and searches, as the API has them."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from holdfast.api import documents
from holdfast.api.dependencies import Session
from holdfast.api.search import search_documents
from holdfast.dashboard.sessions import Admin, Visitor
from holdfast.schemas import (
    CollectionList,
    CollectionName,
    DocumentAccepted,
    DocumentPage,
    SearchRequest,
    SearchResults,
)


async def upload(request: Request, response: Response, owner: Admin, session: Session) -> DocumentAccepted:
    """Store a document and queue its ingestion."""
    return await documents.accept_upload(request, response, owner, session, None)


async def list_documents(
    request: Request,
    owner: Visitor,
    session: Session,
    collection: CollectionName | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: UUID | None = None,
) -> DocumentPage:
    """The documents, newest first."""
    return await documents.list_documents(request, owner, session, collection, limit, before)


async def delete_document(document_id: UUID, request: Request, owner: Admin, session: Session) -> None:
    """Delete a document with all that was made of it."""
    await documents.delete_document(document_id, request, owner, session)


async def list_collections(request: Request, owner: Visitor, session: Session) -> CollectionList:
    """The collections, by name."""
    return await documents.list_collections(request, owner, session)


async def search(body: SearchRequest, request: Request, owner: Visitor, session: Session) -> SearchResults:
    """The passages of a collection that answer a query best."""
    return await search_documents(body, request, owner, session)
