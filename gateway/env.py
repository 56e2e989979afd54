"""Read Comptroller's settings from the environment; a wrong value stops the start with a sentence.

`REFERENCE` is the single list of settings: the process reads it and `docs/settings.md` is checked against it.
Every secret may also be given as `NAME_FILE`, a path to a file that holds the value.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.env_values import (
    boolean,
    broker_url,
    choice,
    database_url,
    decimal,
    encryption_keys,
    hosts,
    http_url,
    integer,
    log_level,
    long_secret,
    networks,
    redis_url,
    sender,
    smtp_url,
    text,
    token,
)


class SettingsError(Exception):
    """One or more settings are wrong; the message has one sentence for each."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable. `parse` gives its value or raises ValueError saying what is wrong."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    secret: bool = False
    default_text: str = ""


REFERENCE: tuple[Setting, ...] = (
    Setting(
        "COMPTROLLER_DATA_DIR",
        text,
        "./data",
        "Folder of all state of the embedded default: database, generated secrets, task queue, exports.",
    ),
    Setting(
        "DATABASE_URL",
        database_url,
        "",
        "PostgreSQL (`postgresql://user:password@host/name`) or SQLite address.",
        secret=True,
        default_text="SQLite in the data folder",
    ),
    Setting(
        "REDIS_URL",
        redis_url,
        "",
        "Redis for the live log's channel layer and, unless `CELERY_BROKER_URL` says otherwise, the task queue.",
        secret=True,
        default_text="in memory",
    ),
    Setting(
        "CELERY_BROKER_URL",
        broker_url,
        "",
        "Broker of the background tasks.",
        secret=True,
        default_text="`REDIS_URL`, else files in the data folder",
    ),
    Setting(
        "COMPTROLLER_SECRET_KEY",
        long_secret,
        None,
        "Signs admin sessions.",
        secret=True,
        default_text="generated into the data folder",
    ),
    Setting(
        "COMPTROLLER_KEY_PEPPER",
        long_secret,
        None,
        "Keys the digest of every virtual key. Changing it makes every issued key unknown.",
        secret=True,
        default_text="generated into the data folder",
    ),
    Setting(
        "COMPTROLLER_ENCRYPTION_KEYS",
        encryption_keys,
        None,
        "AES-256 keys for stored provider credentials: `id:base64,id:base64`; the first encrypts, all decrypt.",
        secret=True,
        default_text="generated into the data folder",
    ),
    Setting("COMPTROLLER_ADMIN_USER", text, "admin", "Login made at the first start when no user exists."),
    Setting(
        "COMPTROLLER_ADMIN_PASSWORD",
        text,
        "",
        "Password of that login.",
        secret=True,
        default_text="generated, printed once",
    ),
    Setting(
        "COMPTROLLER_PUBLIC_URL",
        http_url,
        "",
        "Address people and clients reach this installation at; used in messages, links and origin checks.",
        default_text="`http://HOST:PORT` of `up`",
    ),
    Setting(
        "COMPTROLLER_GATEWAY_URL",
        http_url,
        "",
        "Address that Claude Code reaches the data plane at, where that is not the one that people open the admin at.",
        default_text="`COMPTROLLER_PUBLIC_URL`",
    ),
    Setting(
        "COMPTROLLER_ALLOWED_HOSTS",
        hosts,
        (),
        "Comma list of host names the admin answers to besides loopback and the public address.",
        default_text="loopback and the public address",
    ),
    Setting(
        "COMPTROLLER_TRUSTED_PROXIES",
        networks,
        (),
        "Comma list of proxy addresses (IP or CIDR) whose X-Forwarded-For is believed.",
        default_text="none",
    ),
    Setting(
        "ANTHROPIC_API_KEY",
        token,
        "",
        "Credential of the first provider. Without it the built-in simulated provider answers.",
        secret=True,
        default_text="none: simulated provider",
    ),
    Setting(
        "COMPTROLLER_ANTHROPIC_BASE_URL",
        http_url,
        "https://api.anthropic.com",
        "Address of the Anthropic API.",
    ),
    Setting(
        "ANTHROPIC_ADMIN_KEY",
        token,
        "",
        "Admin key (`sk-ant-admin…`) that reads Anthropic's cost and usage reports for the reconciliation.",
        secret=True,
        default_text="none: reports come from files",
    ),
    Setting(
        "COMPTROLLER_ANTHROPIC_ADMIN_BASE_URL",
        http_url,
        "https://api.anthropic.com",
        "Address of Anthropic's Admin API.",
    ),
    Setting(
        "COMPTROLLER_RECONCILE_TOLERANCE_PERCENT",
        decimal("0", "100"),
        Decimal("0.5"),
        "A difference of at most this percent of the provider's figure is let be.",
        default_text="0.5",
    ),
    Setting(
        "COMPTROLLER_RECONCILE_TOLERANCE_USD",
        decimal("0", "1000000"),
        Decimal("0.01"),
        "A difference of at most this many US dollars is let be, whatever its percent.",
        default_text="0.01",
    ),
    Setting(
        "COMPTROLLER_RECONCILE_DAYS",
        integer(1, 31),
        7,
        "Days back that the daily reconciliation reads again: reports change after the day.",
        default_text="7",
    ),
    Setting(
        "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS",
        boolean,
        False,
        "Allow provider and webhook addresses on loopback and private networks (a local model server, a test).",
        default_text="off",
    ),
    Setting(
        "COMPTROLLER_SIMULATOR_URL",
        http_url,
        "",
        "Address of the simulated provider; set by `up`, which starts it.",
        default_text="set by `up`",
    ),
    Setting(
        "COMPTROLLER_PRICE_SOURCE",
        text,
        "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",
        "JSON URL or local file that the price refresh reads.",
    ),
    Setting(
        "COMPTROLLER_PRICE_REFRESH_HOURS",
        integer(0, 8760),
        0,
        "Hours between price refreshes; 0 leaves it to a person.",
        default_text="0",
    ),
    Setting(
        "COMPTROLLER_PRICE_AUTO_APPROVE_PERCENT",
        integer(0, 100),
        0,
        "A price change of at most this percent approves itself; 0 lets every change wait for a person.",
        default_text="0",
    ),
    Setting(
        "COMPTROLLER_PRICE_AUTO_APPROVE_NEW",
        boolean,
        False,
        "Prices of models not in the catalog yet approve themselves.",
        default_text="off",
    ),
    Setting(
        "COMPTROLLER_MAX_BODY_BYTES",
        integer(1024, 1 << 30),
        32 * 1024 * 1024,
        "Largest request body in bytes.",
        default_text="33554432 (32 MiB)",
    ),
    Setting(
        "COMPTROLLER_MAX_HEADER_BYTES",
        integer(4096, 1 << 20),
        64 * 1024,
        "Largest sum of a request's header names and values in bytes.",
        default_text="65536 (64 KiB)",
    ),
    Setting(
        "COMPTROLLER_MAX_CONNECTIONS",
        integer(16, 1_000_000),
        4096,
        "Most client connections that a server process holds at once; another one is answered 503.",
        default_text="4096",
    ),
    Setting(
        "COMPTROLLER_HEAD_TIMEOUT_SECONDS",
        integer(1, 3600),
        30,
        "Seconds for the whole head of a request, or for the first byte on a new connection.",
        default_text="30",
    ),
    Setting(
        "COMPTROLLER_BODY_TIMEOUT_SECONDS",
        integer(1, 3600),
        60,
        "Seconds without a byte of a request's body before it is given up with 408.",
        default_text="60",
    ),
    Setting(
        "COMPTROLLER_MAX_REQUESTS",
        integer(1, 1_000_000),
        3000,
        "Requests that one process serves at once; more wait (see [overload](overload.md)).",
        default_text="3000",
    ),
    Setting(
        "COMPTROLLER_QUEUE_REQUESTS",
        integer(0, 1_000_000),
        1000,
        "Requests that may wait for a place in one process; more are refused with 529.",
        default_text="1000",
    ),
    Setting(
        "COMPTROLLER_QUEUE_SECONDS",
        integer(0, 300),
        10,
        "Seconds that a request waits for a place at most.",
        default_text="10",
    ),
    Setting(
        "COMPTROLLER_MAX_BODY_MEMORY_BYTES",
        integer(1 << 20, 1 << 40),
        1 << 30,
        "Bytes of request bodies that one process has in memory at once; half of it for one key.",
        default_text="1073741824 (1 GiB)",
    ),
    Setting(
        "COMPTROLLER_MAX_LAG_MS",
        integer(0, 60_000),
        250,
        "Milliseconds that a process's event loop may be late for a second before it takes on no more; 0 for any.",
        default_text="250",
    ),
    Setting(
        "COMPTROLLER_UPSTREAM_CONNECT_TIMEOUT",
        integer(1, 300),
        10,
        "Seconds to connect to a provider.",
        default_text="10",
    ),
    Setting(
        "COMPTROLLER_UPSTREAM_READ_TIMEOUT",
        integer(1, 3600),
        600,
        "Seconds without a byte from a provider before the request is given up.",
        default_text="600",
    ),
    Setting(
        "COMPTROLLER_ABANDONED_REQUESTS",
        integer(0, 1_000_000),
        200,
        "Requests of clients that left whose provider is read to the end at once, so that its charge is exact; "
        "the charge of more is estimated.",
        default_text="200",
    ),
    Setting(
        "COMPTROLLER_ABANDONED_SECONDS",
        integer(1, 3600),
        300,
        "Seconds that the provider of such a request is read at most.",
        default_text="300",
    ),
    Setting(
        "COMPTROLLER_STALL_SECONDS",
        integer(1, 86_400),
        300,
        "Seconds without taking a byte of a stream that waits after which a client counts as gone.",
        default_text="300",
    ),
    Setting(
        "COMPTROLLER_DRAIN_SECONDS",
        integer(0, 3600),
        30,
        "Seconds that running requests may take to end after a stop signal.",
        default_text="30",
    ),
    Setting(
        "COMPTROLLER_DRAIN_DELAY_SECONDS",
        integer(0, 600),
        0,
        "Seconds after a stop signal in which new connections are still taken while `/readyz` says 503: the time a "
        "load balancer needs to look elsewhere. They come before `COMPTROLLER_DRAIN_SECONDS`.",
        default_text="0",
    ),
    Setting(
        "COMPTROLLER_EMAIL_URL",
        smtp_url,
        None,
        "Mail server for alerts: `smtp://user:password@host:587?tls=starttls`; `tls` is starttls, implicit or none.",
        secret=True,
        default_text="none: no e-mail",
    ),
    Setting(
        "COMPTROLLER_EMAIL_FROM",
        sender,
        "",
        "Sender of e-mails, for example `Comptroller <alerts@example.com>`.",
        default_text="`comptroller@` the public address's host",
    ),
    Setting(
        "COMPTROLLER_SPOOL_MAX_BYTES",
        integer(1 << 18, 1 << 50),
        1 << 30,
        "Most bytes of the spool (`spool/` in the data folder, see [spool](spool.md)), of all processes that share it.",
        default_text="1073741824 (1 GiB)",
    ),
    Setting(
        "COMPTROLLER_SPOOL_WHEN_FULL",
        choice("refuse", "continue"),
        "refuse",
        "Without room in the spool: `refuse` new requests with 529, or `continue` to serve them without a note.",
    ),
    Setting(
        "COMPTROLLER_SPOOL_FSYNC_MS",
        integer(0, 60_000),
        100,
        "Milliseconds after which a note is on the disk and outlives a power failure; 0 leaves it to the system. "
        "A note outlives the process at once.",
        default_text="100",
    ),
    Setting(
        "COMPTROLLER_SPOOL_SEGMENT_BYTES",
        integer(1 << 16, 1 << 30),
        4 << 20,
        "Bytes of one file of the spool; each process keeps two ready.",
        default_text="4194304 (4 MiB)",
    ),
    Setting(
        "COMPTROLLER_WRITER",
        choice("process", "thread"),
        "process",
        "Who writes the request log and counts the metrics: a `process` beside each gateway process, or a `thread` in "
        "it, which takes less memory (some 120 MB) and slows the requests of a busy gateway.",
    ),
    Setting(
        "COMPTROLLER_LOG_RETENTION_DAYS",
        integer(0, 36500),
        0,
        "Days that request rows are kept; 0 keeps them.",
        default_text="0",
    ),
    Setting(
        "COMPTROLLER_METRICS_TOKEN",
        token,
        "",
        "Bearer token that `/metrics` asks for.",
        secret=True,
        default_text="none: open",
    ),
    Setting(
        "COMPTROLLER_LOG_LEVEL",
        log_level,
        "INFO",
        "Least severe level written to standard error.",
        default_text="INFO",
    ),
    Setting(
        "COMPTROLLER_DEBUG",
        boolean,
        False,
        "Django's debug pages. Never on an installation that others reach.",
        default_text="off",
    ),
)

_GENERATED: Mapping[str, Callable[[], str]] = {
    "COMPTROLLER_SECRET_KEY": lambda: secrets.token_urlsafe(64),
    "COMPTROLLER_KEY_PEPPER": lambda: secrets.token_urlsafe(48),
    "COMPTROLLER_ENCRYPTION_KEYS": lambda: (
        f"k{secrets.token_hex(3)}:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    ),
}


def read(environ: Mapping[str, str]) -> dict[str, Any]:
    """Every setting by name. Raises SettingsError with one sentence for each wrong value."""
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for setting in REFERENCE:
        try:
            raw = _raw(setting, environ)
            values[setting.name] = setting.default if raw is None else setting.parse(raw)
        except ValueError as error:
            wrong.append(f"{setting.name} {error}.")
    if not wrong and values["COMPTROLLER_SPOOL_MAX_BYTES"] < 2 * values["COMPTROLLER_SPOOL_SEGMENT_BYTES"]:
        wrong.append("COMPTROLLER_SPOOL_MAX_BYTES must be at least twice COMPTROLLER_SPOOL_SEGMENT_BYTES.")
    if wrong:
        raise SettingsError("\n".join(wrong))
    values["COMPTROLLER_DATA_DIR"] = Path(values["COMPTROLLER_DATA_DIR"]).expanduser().resolve()
    for name, make in _GENERATED.items():
        if values[name] is None:
            parse = next(setting.parse for setting in REFERENCE if setting.name == name)
            values[name] = parse(_stored_secret(values["COMPTROLLER_DATA_DIR"], name, make))
    return values


def _raw(setting: Setting, environ: Mapping[str, str]) -> str | None:
    value = environ.get(setting.name) or None
    path = environ.get(f"{setting.name}_FILE") if setting.secret else None
    if path:
        if value is not None:
            raise ValueError(f"and {setting.name}_FILE are both set; keep one")
        try:
            value = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from {setting.name}_FILE ({path}): {error}") from None
        if not value:
            raise ValueError(f"cannot be read from {setting.name}_FILE ({path}): the file is empty")
    return value


def _stored_secret(data_dir: Path, name: str, make: Callable[[], str]) -> str:
    """The secret kept in the data folder, made on first use with mode 0600.

    Several processes may start at once: the file appears whole through a hard link, and the first one wins.
    """
    path = data_dir / "secrets" / name.removeprefix("COMPTROLLER_").lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(make())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{name} is not set and cannot be kept in COMPTROLLER_DATA_DIR: {error}. "
            "Set it, or make the folder writable."
        ) from None
