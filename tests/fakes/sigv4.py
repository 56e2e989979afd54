"""The receiving side of AWS Signature Version 4: recomputed from a request's raw bytes, with no help from botocore.

Written from AWS's description of the signing process; what a service checks, it checks: the scope, the age, that host
and every `x-amz-` header are signed, and the signature itself.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,"
    r" ?SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
MAX_AGE = timedelta(minutes=5)


class Denied(Exception):
    """The request is not who it says it is; `kind` is AWS's name for why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Key:
    """An access key that AWS knows."""

    secret: str
    token: str = ""
    expired: bool = False


def verify(
    keys: Mapping[str, Key],
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    region: str,
    services: Sequence[str],
) -> str:
    """The access key's id. `target` is path and query as they came. Raises Denied."""
    values = {name.lower(): value for name, value in headers}
    found = _AUTHORIZATION.fullmatch(values.get("authorization", ""))
    if found is None:
        raise Denied("MissingAuthenticationTokenException", "Missing Authentication Token")
    key = keys.get(found["key"])
    if key is None or key.token != values.get("x-amz-security-token", ""):
        raise Denied("UnrecognizedClientException", "The security token included in the request is invalid.")
    if key.expired:
        raise Denied("ExpiredTokenException", "The security token included in the request is expired")
    if found["region"] != region or found["service"] not in services:
        raise Denied("InvalidSignatureException", f"Credential should be scoped to {region} and one of {services}.")
    stamp = values.get("x-amz-date", "")
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(datetime.now(UTC) - at) > MAX_AGE or not stamp.startswith(found["day"]):
        raise Denied("InvalidSignatureException", f"Signature expired: {stamp}")
    signed = found["signed"].split(";")
    must = {"host"} | {name for name in values if name.startswith("x-amz-")}
    if signed != sorted(signed) or not must <= set(signed):
        raise Denied("InvalidSignatureException", f"Headers must be signed: {sorted(must - set(signed))}")
    digest = hashlib.sha256(body).hexdigest()
    if values.get("x-amz-content-sha256", digest) != digest:
        raise Denied("InvalidSignatureException", "The hash of the payload is wrong.")
    canonical = "\n".join([
        method,
        _path(target.partition("?")[0]),
        _query(target.partition("?")[2]),
        *(f"{name}:{_value(headers, name)}" for name in signed),
        "",
        ";".join(signed),
        digest,
    ])  # fmt: skip
    scope = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    step = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        step = hmac.digest(step, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(step, text.encode(), "sha256").hex(), found["signature"]):
        raise Denied(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            f"Access Key and signing method. The canonical string was {canonical!r}",
        )
    return found["key"]


def _path(path: str) -> str:
    """Every service but S3 encodes the path that came once more."""
    return quote(path, safe="/-_.~")


def _query(query: str) -> str:
    pairs = [part.partition("=") for part in query.split("&") if part]
    return "&".join(
        f"{name}={value}" for name, value in sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    )


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def _value(headers: Sequence[tuple[str, str]], name: str) -> str:
    return ",".join(" ".join(value.split()) for found, value in headers if found.lower() == name)
