"""Reading documents into parts and splitting parts into chunks; no database, no HTTP.

    file ──sniff──▶ media type ──child process──▶ parts ──split──▶ chunks

Parsers see hostile input, so they run in a process of their own that has limits and no secrets and can be
killed (`reader`, `child`). Parts and chunks are streams: a document of 2,000 pages is never whole in memory.
Importing this package loads no parser, so an API process can use `sniff` and `is_supported_name` cheaply.
"""

from holdfast.documents.media_types import SUPPORTED, MediaType, is_supported_name, supported_suffixes
from holdfast.documents.reading.media import HEAD_BYTES, sniff
from holdfast.documents.reading.parts import Part, ReadLimits
from holdfast.documents.reading.reader import Document, read_document
from holdfast.documents.reading.split import Chunk, ChunkSize, split

__all__ = [
    "HEAD_BYTES",
    "SUPPORTED",
    "Chunk",
    "ChunkSize",
    "Document",
    "MediaType",
    "Part",
    "ReadLimits",
    "is_supported_name",
    "read_document",
    "sniff",
    "split",
    "supported_suffixes",
]
