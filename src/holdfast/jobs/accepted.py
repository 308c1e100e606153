"""What a caller gets for work that was accepted."""

from uuid import UUID

from pydantic import BaseModel, Field, computed_field

from holdfast.states import JobStatus


class JobAccepted(BaseModel):
    """A job exists and will run; follow it at its URL.

    A job that was there already, by its idempotency key, is not `created`, and has the status it has by now.
    """

    job_id: UUID = Field(examples=["01997a5e-8f2b-7cc1-9d1c-0a4b5f6e7d80"])
    status: JobStatus = JobStatus.QUEUED
    created: bool = Field(True, description="Whether this request made the job; false: an earlier one did.")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def urls(self) -> dict[str, str]:
        """Where to go from here, relative to the API's root."""
        return {"job": f"/v1/jobs/{self.job_id}"}


class BatchAccepted(BaseModel):
    """Jobs exist together and will run; follow them at the batch's URL.

    A batch that was there already, by its idempotency key, is not `created`.
    """

    batch_id: UUID = Field(examples=["01997a5e-8f2c-7e02-b1d4-5c6a7b8c9d0e"])
    total: int = Field(description="How many jobs it has.", examples=[2])
    job_ids: list[UUID] = Field(description="In the order the jobs were given in.")
    created: bool = Field(True, description="Whether this request made the batch; false: an earlier one did.")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def urls(self) -> dict[str, str]:
        """Where to go from here, relative to the API's root."""
        url = f"/v1/batches/{self.batch_id}"
        return {"batch": url, "jobs": f"/v1/jobs?batch_id={self.batch_id}", "cancel": f"{url}/cancel"}
