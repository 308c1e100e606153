"""The errors of an embedding call; all are `ProviderError`, so a caller may tell them apart or not.

    ProviderError               rate limits (`status` 429), timeouts, outages: `retryable` decides
    ├── ProviderAuthError       the key was refused
    ├── QuotaExhausted          the account has no credit left
    ├── UnknownModel            no such model, or no such URL
    ├── WrongDimensions         the model's vectors do not have the configured length
    ├── MalformedReply          a 200 that cannot be used; retryable
    └── BadInput                one text cannot be embedded; says which

A message never holds the API key or the whole of a text.
"""

from holdfast.errors import ProviderError


class ProviderAuthError(ProviderError):
    """The provider refused the API key."""

    code = "provider_auth"


class QuotaExhausted(ProviderError):
    """The provider's account has no credit left; waiting does not help."""

    code = "provider_quota"


class UnknownModel(ProviderError):
    """The provider has no such model under this URL."""

    code = "provider_model"


class WrongDimensions(ProviderError):
    """The model's vectors do not have the configured number of dimensions."""

    code = "provider_dimensions"


class MalformedReply(ProviderError):
    """The provider said 200 and sent something that cannot be used."""

    code = "provider_reply"


class BadInput(ProviderError):
    """One text cannot be embedded; the others can.

    `position` is its index in the sequence given to `embed`. `status` is `None` when the text was refused
    before anything was sent. Never retryable.
    """

    code = "provider_bad_input"

    def __init__(self, message: str | None = None, *, position: int, status: int | None = None) -> None:
        super().__init__(message, retryable=False, status=status)
        self.position = position
