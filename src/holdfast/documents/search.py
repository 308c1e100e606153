"""Finding chunks: by their words, or by words and meaning when the embedder knows meaning.

Only active generations are seen, so a document is found whole or not at all. Measured grounds for each choice
are in `docs/decisions/0003-search.md`.
"""

from typing import Any
from uuid import UUID

from pgvector import HalfVector
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ColumnElement, Row, Select, Text, and_, cast, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from holdfast.ai import Vector
from holdfast.documents import vector_index
from holdfast.documents.models import Chunk, Document
from holdfast.documents.views import Hit, SearchResult

LANGUAGE = "english"
# How many of each ranking are fused, and the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher,
# SIGIR 2009): a document counts 1 / (60 + rank) in each.
CANDIDATES = 50
FUSION = 60
# ts_rank's normalization 1 divides by 1 + log(length): long chunks repeat words without being about them.
RANK_NORMALIZATION = 1
# How PostgreSQL is to walk an HNSW index. Iterative, so that rows of older generations, which are passed
# over, do not leave the answer short. The planner has no statistics of `vector_dims(embedding)`, expects one
# row in 200, and would rather read and sort those.
_INDEX_SCAN = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": "100", "enable_sort": "off"}

_Found = Row[*tuple[Any, ...]]
_Query = Select[*tuple[Any, ...]]


def begin(session: Session) -> None:
    """Let all searches of this transaction see one moment, and plan anew; must be its first statement.

    A search is several statements, and a document that gets a new generation in between would be found with
    chunks of both.
    """
    session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    # The plan must fit the words at hand: a frozen one reads half the table for a frequent word.
    _set_local(session, {"plan_cache_mode": "force_custom_plan"})


def lexical(session: Session, collection_id: UUID, query: str, *, limit: int) -> SearchResult:
    """Rank by words: chunks with all of them first, then those with any."""
    return SearchResult("lexical", [_hit(row) for row in _by_words(session, collection_id, query, limit)])


def hybrid(
    session: Session, collection_id: UUID, query: str, vector: Vector, pipeline: str, *, limit: int
) -> SearchResult:
    """Rank by words and by nearness of meaning, and fuse the two rankings.

    Documents whose vectors another model made are found by their words alone.
    """
    depth = max(limit, CANDIDATES)
    rankings = (
        _by_words(session, collection_id, query, depth),
        _by_meaning(session, collection_id, vector, pipeline, depth),
    )
    rows: dict[tuple[UUID, int], _Found] = {}
    scores: dict[tuple[UUID, int], float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            key = (row[0], row[2])
            rows[key] = row
            scores[key] = scores.get(key, 0) + 1 / (FUSION + rank)
    best = sorted(scores, key=lambda key: (-scores[key], key))[:limit]
    return SearchResult("hybrid", [_hit(rows[key], scores[key]) for key in best])


def _by_words(session: Session, collection_id: UUID, query: str, limit: int) -> list[_Found]:
    every = func.plainto_tsquery(LANGUAGE, query)
    any_of = cast(func.replace(cast(every, Text), " & ", " | "), TSQUERY)
    has_every = Chunk.tsv.bool_op("@@")(every)
    score = func.ts_rank(Chunk.tsv, any_of, RANK_NORMALIZATION)
    # ts_rank stays below one, so the chunks with every word keep ahead of those with some.
    found = list(session.execute(_best(collection_id, has_every, score + 1, limit)))
    if len(found) < limit:
        has_some = and_(Chunk.tsv.bool_op("@@")(any_of), ~has_every)
        found += session.execute(_best(collection_id, has_some, score, limit - len(found)))
    return found


def _by_meaning(
    session: Session, collection_id: UUID, vector: Vector, pipeline: str, limit: int
) -> list[_Found]:
    if vector_index.is_usable(session, collection_id, len(vector)):
        return _nearest_of_many(session, collection_id, vector, pipeline, limit)
    return _nearest_of_few(session, collection_id, vector, pipeline, limit)


def _nearest_of_few(
    session: Session, collection_id: UUID, vector: Vector, pipeline: str, limit: int
) -> list[_Found]:
    # Materialized, so that every chunk of the collection is compared: exact, and fast enough for its size.
    distance = Chunk.embedding.cosine_distance(HalfVector(vector))
    compared = (
        _active(collection_id)
        .add_columns((1 - distance).label("score"))
        .where(Document.pipeline == pipeline)
        .cte("compared")
        .prefix_with("MATERIALIZED")
    )
    return list(session.execute(select(compared).order_by(compared.c.score.desc()).limit(limit)))


def _nearest_of_many(
    session: Session, collection_id: UUID, vector: Vector, pipeline: str, limit: int
) -> list[_Found]:
    dimensions = len(vector)
    # Expression and predicates as in the index. No predicate may be a parameter of a plan made once for all.
    distance = cast(Chunk.embedding, HALFVEC(dimensions)).cosine_distance(HalfVector(vector))
    nearest = (
        _active(collection_id)
        .add_columns((1 - distance).label("score"))
        .where(Document.pipeline == pipeline)
        .where(func.vector_dims(Chunk.embedding) == literal_column(str(dimensions)))
        .order_by(distance)
        .limit(limit)
    )
    _set_local(session, _INDEX_SCAN)
    found = list(session.execute(nearest))
    _set_local(session, {"enable_sort": "on"})
    # In relaxed order neighbours may come a little too late.
    return sorted(found, key=lambda row: -row.score)


def _set_local(session: Session, settings: dict[str, str]) -> None:
    session.execute(select(*(func.set_config(name, value, True) for name, value in settings.items())))


def _best(collection_id: UUID, where: ColumnElement[bool], score: ColumnElement[float], limit: int) -> _Query:
    query = _active(collection_id).add_columns(score.label("score")).where(where)
    return query.order_by(score.desc(), Chunk.document_id, Chunk.index).limit(limit)


def _active(collection_id: UUID) -> _Query:
    is_active = and_(Document.id == Chunk.document_id, Document.generation == Chunk.generation)
    return (
        select(Chunk.document_id, Document.name, Chunk.index, Chunk.text, Chunk.page, Chunk.section)
        .join(Document, is_active)
        .where(Chunk.collection_id == collection_id, Document.collection_id == collection_id)
    )


def _hit(row: _Found, score: float | None = None) -> Hit:
    document_id, name, index, content, page, section, own_score = row
    return Hit(document_id, name, index, content, page, section, own_score if score is None else score)
