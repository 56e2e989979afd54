"""E-mail, plain text and simple HTML, through Django's mail and the server of COMPTROLLER_EMAIL_URL."""

from __future__ import annotations

import smtplib
from contextlib import closing

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from governance.alerts.channels import NotDelivered
from governance.alerts.messages import Message


def send(address: str, message: Message) -> int:
    """Hand one message to the mail server; gives its code, 250. Raises NotDelivered."""
    if not settings.EMAIL_HOST:
        raise NotDelivered(
            "no mail server is set. Set COMPTROLLER_EMAIL_URL, restart, then choose “Try again”.", permanent=True
        )
    context = {"message": message}
    mail = EmailMultiAlternatives(
        subject=f"[Comptroller] {message.title}",
        body=render_to_string("governance/alerts/message.txt", context),
        to=[address],
        # Answers of absent colleagues' machines are of no use to anybody.
        headers={"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"},
    )
    mail.attach_alternative(render_to_string("governance/alerts/message.html", context), "text/html")
    try:
        # Django leaves the connection open where the login fails.
        with closing(get_connection()) as mail.connection:
            mail.send()
    except smtplib.SMTPRecipientsRefused as error:
        code, reason = next(iter(error.recipients.values()))
        raise NotDelivered(
            f"the mail server refused {address}: {_text(reason)}", status=code, permanent=code >= 500
        ) from None
    except smtplib.SMTPAuthenticationError as error:
        raise NotDelivered(
            "the mail server refused the user name and password of COMPTROLLER_EMAIL_URL", status=error.smtp_code
        ) from None
    except smtplib.SMTPResponseException as error:
        raise NotDelivered(f"the mail server answered {_text(error.smtp_error)}", status=error.smtp_code) from None
    except (smtplib.SMTPException, OSError, ValueError) as error:
        # A refused connection, a TLS failure, or a header that cannot be written.
        raise NotDelivered(f"the mail server {settings.EMAIL_HOST}:{settings.EMAIL_PORT} failed ({error})") from None
    return 250


def _text(reason: bytes | str) -> str:
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason
