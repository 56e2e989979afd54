"""Every error of the API as JSON: `{"detail": sentence}`, or `{field: [sentences]}` for wrong input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import IntegrityError
from rest_framework import status
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from governance.services.records import Vanished


class Conflict(APIException):
    """The row's state does not allow the change."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


def handle(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler, which also knows the errors that models and services raise."""
    if isinstance(exception, DjangoValidationError):
        exception = ValidationError(_by_api_name(exception, context.get("view")))
    elif isinstance(exception, Vanished):
        exception = NotFound(str(exception))
    elif isinstance(exception, IntegrityError):
        # Checked before it is written; so somebody wrote the same thing in between.
        exception = Conflict("Somebody else changed this at the same moment. Read it again, then repeat the change.")
    response = exception_handler(exception, context)
    if response is not None and isinstance(response.data, list):
        response.data = {"detail": " ".join(str(sentence) for sentence in response.data)}
    elif response is not None and isinstance(response.data, dict) and "non_field_errors" in response.data:
        sentences = response.data.pop("non_field_errors")
        response.data["detail"] = " ".join(str(sentence) for sentence in sentences)
    return response


def _by_api_name(error: DjangoValidationError, view: Any) -> dict[str, list[str]]:
    """Messages under the names that the API uses, where the model's column has another."""
    if not hasattr(error, "error_dict"):
        return {"non_field_errors": error.messages}
    names = _api_names(view)
    errors: dict[str, list[str]] = {}
    for column, messages in error.message_dict.items():
        name = "non_field_errors" if column == NON_FIELD_ERRORS else names.get(column, column)
        errors.setdefault(name, []).extend(messages)
    return errors


def _api_names(view: Any) -> Mapping[str, str]:
    serializer_class = getattr(view, "serializer_class", None)
    if serializer_class is None:
        return {}
    return {field.source: name for name, field in serializer_class().fields.items()}
