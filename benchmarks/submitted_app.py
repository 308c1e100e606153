"""An application with one task that can be asked for over HTTP; it takes what `bare_app` takes."""

from uuid import UUID

from holdfast import Holdfast, JobContext
from holdfast.api import create_app

holdfast = Holdfast()


def note(job: JobContext, document_id: UUID, wall: int, colours: list[str] | None = None) -> None:
    """Do nothing."""


task = holdfast.task(note, exposed=True)
app = create_app(holdfast)
