"""COMPTROLLER_EMAIL_URL and COMPTROLLER_EMAIL_FROM become Django's mail settings, or stop the start."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.env_values import sender, smtp_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.acme.test", ("mail.acme.test", 587, "", "", True, False)),
        ("smtp://u:p%40ss@mail.acme.test:2525", ("mail.acme.test", 2525, "u", "p@ss", True, False)),
        ("smtp://u%40acme.test:p@mail?tls=implicit", ("mail", 465, "u@acme.test", "p", False, True)),
        ("smtp://10.0.0.5?tls=none", ("10.0.0.5", 25, "", "", False, False)),
        ("smtp://u:p@127.0.0.1:25?tls=none", ("127.0.0.1", 25, "u", "p", False, False)),
    ],
)
def test_a_mail_server(url: str, expected: tuple[Any, ...]) -> None:
    names = ("HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL")
    assert smtp_url(url) == {f"EMAIL_{name}": value for name, value in zip(names, expected, strict=True)}


@pytest.mark.parametrize(
    "url",
    [
        "mail.acme.test", "http://mail", "smtp://", "smtp://mail:x", "smtp://mail/inbox", "smtp://mail?tls=maybe",
        "smtp://mail?ssl=1", "smtp://mail?tls", "smtp://u:p@mail?tls=none",
    ],
)  # fmt: skip
def test_a_wrong_mail_server_says_what_is_wrong(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|would send the password"):
        smtp_url(url)


def test_a_sender() -> None:
    assert sender("alerts@acme.test") == "alerts@acme.test"
    assert sender("Comptroller <alerts@acme.test>") == "Comptroller <alerts@acme.test>"
    for wrong in ("alerts", "Comptroller", "a@b\nBcc: c@d", "<>", "a@b c@d"):
        with pytest.raises(ValueError, match="must be an e-mail address"):
            sender(wrong)
