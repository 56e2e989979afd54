"""What `up` prints: where to go, the first login and key, and the lines to paste for Claude Code."""

from __future__ import annotations

from gateway.launch.bootstrap import CUSTOMER, KEY, TEAM, Prepared, only_simulated
from gateway.launch.parts import Plan
from gateway.launch.paste import claude_code_lines
from gateway.roles import Role


def secrets_lines(prepared: Prepared, gateway_url: str) -> list[str]:
    """The new login and key with what they are for; empty where nothing was made. Printed once and never again."""
    lines: list[str] = []
    if prepared.login:
        password = prepared.password or "(as COMPTROLLER_ADMIN_PASSWORD says)"
        lines += [
            "First login (shown this once):",
            f"    user      {prepared.login}",
            f"    password  {password}",
            "",
        ]
    if prepared.key_secret:
        lines += [
            f"First virtual key, {KEY} of {CUSTOMER}/{TEAM} (shown this once).",
            "Paste into a terminal to use Claude Code with it:",
            *(f"    {line}" for line in claude_code_lines(gateway_url, str(prepared.key_secret))),
            "",
        ]
    return lines


def welcome_lines(prepared: Prepared, plan: Plan, seconds: float) -> list[str]:
    """Everything that the first or a later start says once it answers requests."""
    match plan.role:
        case Role.WEB:
            lines = ["", f"Comptroller's admin and API answer on {plan.public_url}"]
        case Role.WORKER:
            lines = ["", "Comptroller's background tasks run."]
        case _:
            lines = ["", f"Comptroller answers on {plan.gateway_url}"]
    if plan.role.serves_people:
        lines.append(f"    admin     {plan.public_url}/admin/")
    lines += ["", *secrets_lines(prepared, plan.gateway_url)]
    if not prepared.is_first_start:
        lines += [
            "Logins, keys and everything else are as you left them; secrets are not shown again.",
            "    a new key           .venv/bin/python manage.py issue_key --team CUSTOMER/TEAM --name NAME",
            "    a forgotten login   .venv/bin/python manage.py changepassword USER",
            "",
        ]
    if only_simulated():
        lines += [
            "The provider is SIMULATED: answers are made up, no real model is called and nothing is billed.",
            "Set ANTHROPIC_API_KEY and start again to use Anthropic.",
            "",
        ]
    if prepared.notes:
        lines += [*prepared.notes, ""]
    lines.append(f"Ready in {seconds:.1f} s. Ctrl-C stops it in order.")
    return lines
