"""Errors that models, services and the database raise, as the API tells them."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from governance.api.errors import handle
from governance.api.limits import Budgets
from governance.services.records import Vanished


@pytest.mark.parametrize(
    ("error", "status", "data"),
    [
        (ValidationError("Wrong."), 400, {"detail": "Wrong."}),
        (ValidationError({"limit_nano_usd": "Too much."}), 400, {"limit_usd": ["Too much."]}),
        (ValidationError({"__all__": ["One.", "Two."]}), 400, {"detail": "One. Two."}),
        (Vanished("Core was deleted meanwhile."), 404, {"detail": "Core was deleted meanwhile."}),
    ],
)
def test_as_json_under_the_api_s_names(error: Exception, status: int, data: dict[str, object]) -> None:
    answer = handle(error, {"view": Budgets()})
    assert answer is not None
    assert (answer.status_code, answer.data) == (status, data)


def test_a_lost_race_is_a_conflict() -> None:
    answer = handle(IntegrityError("UNIQUE constraint failed: digest"), {})
    assert answer is not None
    assert answer.status_code == 409
    assert "digest" not in str(answer.data)


def test_what_nobody_expected_is_left_to_the_server() -> None:
    assert handle(RuntimeError("bug"), {}) is None
