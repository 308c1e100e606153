"""The error tree.

    HoldfastError
    ├── ConfigurationError        a setting or an environment that cannot work
    ├── EngineStartError          an embedded engine did not start
    ├── MissingExtra              a part of Holdfast that was not installed along
    ├── InvalidArguments          arguments that do not fit the task's annotations
    │   └── IdempotencyConflict   an idempotency key that was used for something else
    ├── NotRetryable              a job that has not failed, or cannot be asked for again
    │   └── UploadMissing         a document's job whose upload is gone
    ├── UnknownTask               a name that no task is registered under
    ├── DatabaseUnavailable       PostgreSQL cannot be reached just now
    ├── CarrierUnavailable        the broker cannot be reached just now
    ├── StorageUnavailable        uploads cannot be stored or read just now
    ├── StaleAttempt              the job has moved on; this attempt may write nothing more
    ├── JobCancelled              raised inside a task that was asked to stop
    ├── TimedOut                  why an attempt was ended: it took longer than its timeout
    ├── DeadlineExceeded          why a job was ended: its deadline has passed
    ├── Expired                   why a job was ended: it was not started in time
    ├── Retry                     raised by a task: try again later
    ├── PermanentError            raised by a task: trying again cannot help
    │   ├── StepChanged           a step that was saved is not the one the code asks for now
    │   ├── ChildFailed           a child job that did not complete
    │   └── DocumentError         a document that cannot be read, with the stage that found out
    ├── ProviderError             an AI provider refused or could not be reached
    ├── ApiUnreachable            what a client sees: the API does not answer
    ├── RequestRefused            what a client sees: a problem that has no class of its own here
    │   └── EventsUnavailable     the API has no event streams
    ├── JobFailed                 what a client sees: the job it waited for has failed
    └── WaitTimedOut              what a client sees: the job has not ended in the time it would wait

Each class has a sentence (its docstring is the default message) and a stable `code`, which is what a job's
`error` and an API problem carry. Mapping a code to an HTTP status is the API's business alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from inspect import cleandoc
from typing import Any
from uuid import UUID


class HoldfastError(Exception):
    """Something went wrong in Holdfast."""

    code: str = "error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or cleandoc(type(self).__doc__ or "").partition("\n")[0]
        super().__init__(self.message)


class ConfigurationError(HoldfastError):
    """A setting cannot work as it stands."""

    code = "configuration"


class EngineStartError(HoldfastError):
    """An embedded engine did not start."""

    code = "engine_start"


class MissingExtra(HoldfastError, ImportError):
    """A part of Holdfast is not installed.

    `extra` is what to install, `missing` the module that was not found.
    """

    code = "missing_extra"

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"This part of Holdfast needs {missing!r}, which is not installed."
            f" Install it: pip install 'holdfast[{extra}]'"
        )
        self.extra, self.missing = extra, missing


@dataclass(frozen=True)
class InvalidArgument:
    """One thing that does not fit: where it stands among the arguments, what is wrong, Pydantic's type."""

    location: tuple[str, ...]
    message: str
    type: str


class InvalidArguments(HoldfastError):
    """The arguments do not fit the task's annotations.

    `arguments` lists what does not fit, as far as it is one argument or another.
    """

    code = "invalid_arguments"

    def __init__(self, message: str | None = None, arguments: Sequence[InvalidArgument] = ()) -> None:
        super().__init__(message)
        self.arguments = tuple(arguments)


class IdempotencyConflict(InvalidArguments):
    """The idempotency key was used for something else within the last 24 hours."""

    code = "idempotency_conflict"


class NotRetryable(HoldfastError):
    """Only a job that has failed or was cancelled can be retried."""

    code = "not_retryable"


class UploadMissing(NotRetryable):
    """The upload was removed when its job ended. Upload the document again."""

    code = "upload_missing"


class UnknownTask(HoldfastError):
    """No task is registered under this name."""

    code = "unknown_task"


class DatabaseUnavailable(HoldfastError):
    """PostgreSQL cannot be reached just now; nothing was written."""

    code = "database_unavailable"


class CarrierUnavailable(HoldfastError):
    """The broker cannot be reached just now; jobs wait in PostgreSQL."""

    code = "broker_unavailable"


class StorageUnavailable(HoldfastError):
    """The store of uploads cannot be reached just now."""

    code = "storage_unavailable"


class StaleAttempt(HoldfastError):
    """This attempt no longer holds the job: it was rescued, retried, cancelled or finished elsewhere."""

    code = "stale_attempt"


class JobCancelled(HoldfastError):
    """The job was asked to stop."""

    code = "cancelled"


class TimedOut(HoldfastError):
    """The attempt took longer than its timeout allows."""

    code = "timeout"


class DeadlineExceeded(HoldfastError):
    """The job had not ended when its deadline came."""

    code = "deadline_exceeded"


class Expired(HoldfastError):
    """The job was not started in time."""

    code = "expired"


class Retry(HoldfastError):
    """The task asks to be tried again.

    Args:
        message: why, for the job's history.
        after: how long to wait; `None` leaves it to the task's retry policy.
        code: the stable code stored when no attempt is left.
    """

    code = "retry"

    def __init__(
        self, message: str | None = None, *, after: timedelta | float | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.after = timedelta(seconds=after) if isinstance(after, int | float) else after
        if code is not None:
            self.code = code


class PermanentError(HoldfastError):
    """Trying again cannot help."""

    code = "permanent"

    def __init__(
        self, message: str | None = None, *, code: str | None = None, stage: str | None = None
    ) -> None:
        super().__init__(message)
        self.stage = stage
        if code is not None:
            self.code = code


class StepChanged(PermanentError):
    """The code was changed while the job was under way: a saved step is not the one it asks for now.

    `name` and `key` tell the step, `changed` what differs: `function`, `arguments`, `result type`.
    """

    code = "step_changed"

    def __init__(self, name: str, key: str, changed: Sequence[str]) -> None:
        what = " and another ".join(changed)
        super().__init__(
            f"Step {name!r} (key {key!r}) was saved with another {what}, by earlier code or by "
            "code that is not the same in each attempt. Bring the old code back and retry the job, "
            "or give the step a new name, or retry the job without its steps."
        )
        self.name, self.key, self.changed = name, key, tuple(changed)


class ChildFailed(PermanentError):
    """A child job did not complete.

    `job_id` and `task` tell the child, `status` how it ended, and `error` is its own.
    """

    code = "child_failed"

    def __init__(self, job_id: UUID, task: str, status: str, error: Mapping[str, Any] | None) -> None:
        told = f" ({error['code']}: {error['message']})" if error else ""
        super().__init__(f"The child job {job_id} of task {task} is {status}{told}")
        self.job_id, self.task, self.status, self.error = job_id, task, status, error


class DocumentError(PermanentError):
    """The document cannot be ingested.

    `stage` is one of `store`, `read`, `split`, `embed`, `write`; `code` names the reason.
    """

    code = "document_unreadable"

    def __init__(self, message: str | None = None, *, code: str, stage: str) -> None:
        super().__init__(message, code=code, stage=stage)


class ProviderError(HoldfastError):
    """An AI provider refused the request or could not be reached.

    `retryable` says whether the same request may succeed later, `retry_after` when the provider says so.
    """

    code = "provider_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool,
        status: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.stage: str | None = None
        self.retryable = retryable
        self.status = status
        self.retry_after = retry_after


class ApiUnreachable(HoldfastError):
    """The API does not answer."""

    code = "api_unreachable"


class RequestRefused(HoldfastError):
    """The API refused the request.

    Attributes:
        code: the problem's own, such as `job_not_found`; the status in digits if there was no problem.
        status: of the HTTP response.
        retryable: whether the same request may succeed later.
        retry_after: when, if the API said so.
        request_id: what the API's log knows the request by.
    """

    code = "refused"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str,
        status: int,
        retryable: bool = False,
        retry_after: timedelta | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.status, self.retryable = code, status, retryable
        self.retry_after, self.request_id = retry_after, request_id


class EventsUnavailable(RequestRefused):
    """The API has no event streams: it is older than its client, or has no route for them."""


class JobFailed(HoldfastError):
    """The job has failed.

    Attributes:
        job_id: the job's id.
        code: of the job's error, such as `no_text`.
        stage: the part of the work that failed, if it is known.
    """

    code = "job_failed"

    def __init__(self, job_id: UUID, message: str | None = None, *, code: str, stage: str | None) -> None:
        super().__init__(message)
        self.job_id, self.code, self.stage = job_id, code, stage


class WaitTimedOut(HoldfastError, TimeoutError):
    """The job has not ended in the time that was given; it goes on."""

    code = "wait_timed_out"
