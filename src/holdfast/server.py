"""Holdfast's own backend, composed: what `holdfast api` serves and `celery -A holdfast.celery` runs."""

from holdfast.app import Holdfast

holdfast = Holdfast()
