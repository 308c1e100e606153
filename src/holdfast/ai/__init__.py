"""Embeddings: the protocol, a provider's and an offline embedder, and pgvector's binary form."""

from holdfast.ai.embedder import EmbeddedBatch, Embedder, Vector
from holdfast.ai.errors import (
    BadInput,
    MalformedReply,
    ProviderAuthError,
    QuotaExhausted,
    UnknownModel,
    WrongDimensions,
)
from holdfast.ai.halfvec import encode_halfvec
from holdfast.ai.hashing import HashingEmbedder
from holdfast.ai.openai_embedder import OpenAIEmbedder
from holdfast.ai.packing import Limits

__all__ = [
    "BadInput",
    "EmbeddedBatch",
    "Embedder",
    "HashingEmbedder",
    "Limits",
    "MalformedReply",
    "OpenAIEmbedder",
    "ProviderAuthError",
    "QuotaExhausted",
    "UnknownModel",
    "Vector",
    "WrongDimensions",
    "encode_halfvec",
]
