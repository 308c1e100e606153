"""What is shown while it happens, through Redis. Nothing here is needed for a job to be done."""

from holdfast.live.event_writer import EventWriter
from holdfast.live.progress import ProgressReader, ProgressWriter

__all__ = ["EventWriter", "ProgressReader", "ProgressWriter"]
