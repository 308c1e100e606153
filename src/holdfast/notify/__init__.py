"""Notifications: webhooks, mail, and channels of one's own that tell of the end of jobs and batches."""

from holdfast.notify.addresses import Allowed
from holdfast.notify.backend import Notifications
from holdfast.notify.channel import Answer, Channel, Notice, NotSent
from holdfast.notify.mail import MailChannel, MailServer

__all__ = [
    "Allowed",
    "Answer",
    "Channel",
    "MailChannel",
    "MailServer",
    "NotSent",
    "Notice",
    "Notifications",
]
