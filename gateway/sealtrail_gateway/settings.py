# SPDX-License-Identifier: Apache-2.0
"""What a gateway is told: the environment for its own life, one file for upstreams and callers.

SEALTRAIL_URL, SEALTRAIL_TOKEN[_FILE], SEALTRAIL_TRUST      the ledger, as for every client
SEALTRAIL_GATEWAY_CONFIG         file in TOML, below; without it, no upstream and no caller
SEALTRAIL_GATEWAY_LISTEN         127.0.0.1:8401; port 0 takes a free one
SEALTRAIL_GATEWAY_JOURNAL        folder for receipts; nothing is kept there if it is empty
SEALTRAIL_GATEWAY_BODY_MAX_MIB   64; requests and whole answers
SEALTRAIL_GATEWAY_TIMEOUT_S      600; silence of an upstream before its call has failed
SEALTRAIL_GATEWAY_LEDGER_TIMEOUT_S  10; what one request to the ledger may take

[upstream.openai]                       # path /openai/…
url = "https://api.openai.com/v1"       # left out, where the provider itself listens
credential_file = "openai.key"          # beside this file; never in it
    reader = "openai"                       # its format; that of its own name if left out

[[caller]]
    key_sha256 = "…"                        # of the key that an application sends
person = "emp-7"                        # a natural person's own key, or:
    service = "image-service"               # a shared one, which names a person each time
anonymous = false                       # true lets a service name nobody: recorded as such

[proxy]                                 # a proxy that signs whom it has authenticated
secret_file = "proxy.secret"

[oidc]
issuer = "https://idp.example"
audience = "sealtrail-gateway"
jwks_file = "jwks.json"
claim = "sub"

[policy]
refuse = ["(?i)passport"]               # patterns over what people wrote
version = "7"
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from sealtrail.providers.registry import ADDRESSES, READERS
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust
from sealtrail.wire import checked_url
from sealtrail_gateway.pool import Address

_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{64}")
_MIB: Final = 1024 * 1024


class Misconfigured(Exception):  # noqa: N818 - what an operator has to change
    """A setting is missing or wrong. The message names it and repeats no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One provider: where it listens, and the only copy of its credential."""

    name: str  #: First part of the path.
    url: str
    reader: str
    credential: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """Whose key an application sends: a person's own, or a service's that names one each time."""

    person: str | None = field(default=None, repr=False)
    service: str | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """Whose identity tokens are believed."""

    issuer: str
    audience: str
    jwks: str = field(repr=False)
    claim: str = "sub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it, checked."""

    ledger_url: str
    ledger_token: str = field(repr=False)
    trust: Trust = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8401
    journal: Path | None = None
    body_max: int = 64 * _MIB
    timeout_s: float = 600
    ledger_timeout_s: float = 10
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    callers: Mapping[str, KnownKey] = field(default_factory=dict, repr=False)
    proxy_secret: bytes | None = field(default=None, repr=False)
    oidc: Oidc | None = None
    refuse: tuple[str, ...] = ()
    policy_version: str = "1"

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read environment and file. Raises Misconfigured."""
        env = os.environ if environment is None else environment
        try:
            trust = Trust.parse(Path(_needed(env, "SEALTRAIL_TRUST")).read_bytes())
            host, port = _listen(env.get("SEALTRAIL_GATEWAY_LISTEN") or "127.0.0.1:8401")
            journal = env.get("SEALTRAIL_GATEWAY_JOURNAL")
            config = env.get("SEALTRAIL_GATEWAY_CONFIG")
            told = {} if not config else _file(Path(config))
            return cls(
                ledger_url=_ledger(env.get("SEALTRAIL_URL") or _needed(env, "SEALTRAIL_LEDGER")),
                ledger_token=_token(env),
                trust=trust,
                host=host,
                port=port,
                journal=Path(journal) if journal else None,
                body_max=int(_amount(env, "SEALTRAIL_GATEWAY_BODY_MAX_MIB", "64")) * _MIB,
                timeout_s=_amount(env, "SEALTRAIL_GATEWAY_TIMEOUT_S", "600"),
                ledger_timeout_s=_amount(env, "SEALTRAIL_GATEWAY_LEDGER_TIMEOUT_S", "10"),
                **told,
            )
        except OSError as error:
            raise Misconfigured(f"a file cannot be read: {error.filename}") from error
        except VerifyError as error:
            raise Misconfigured("SEALTRAIL_TRUST is no trust file") from error
        except ValueError as error:
            raise Misconfigured(f"a setting has a wrong form: {error}") from error


def _file(path: Path) -> dict[str, Any]:
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path.name} is not TOML: {error}") from error
    _known(told, f"{path.name}: the file", "upstream caller proxy oidc policy")
    for name in ("upstream", "proxy", "oidc", "policy"):
        if not isinstance(told.get(name, {}), dict):
            raise Misconfigured(f"{name} is not a table")
    policy, proxy = told.get("policy", {}), told.get("proxy", {})
    _known(policy, "policy", "refuse version")
    _known(proxy, "proxy", "secret_file")
    secret = proxy.get("secret_file")
    return {
        "upstreams": {
            name: _upstream(name, one, path) for name, one in told.get("upstream", {}).items()
        },
        "callers": dict(_caller(one) for one in told.get("caller", ())),
        "proxy_secret": _secret(path, secret).encode() if secret else None,
        "oidc": _oidc(told["oidc"], path) if "oidc" in told else None,
        "refuse": _patterns(policy.get("refuse", [])),
        "policy_version": str(policy.get("version", "1")),
    }


def _known(told: Any, where: str, names: str) -> None:
    """Raises Misconfigured for a member that nobody reads: it may be one that is misspelled."""
    if not isinstance(told, dict):
        raise Misconfigured(f"{where} is not a table")
    unknown = sorted(set(told) - set(names.split()))
    if unknown:
        raise Misconfigured(f"{where} has no {unknown[0]}")


def _patterns(listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise Misconfigured("policy.refuse is not a list of patterns")
    for at, one in enumerate(listed):
        try:
            re.compile(one)
        except re.error as error:
            raise Misconfigured(f"policy.refuse[{at}] is no pattern: {error.msg}") from None
    return tuple(listed)


def _upstream(name: str, told: Mapping[str, str], path: Path) -> Upstream:
    _known(told, f"upstream.{name}", "url reader credential_file")
    reader = told.get("reader", name if name in READERS else "openai")
    if reader not in READERS:
        raise Misconfigured(f"upstream.{name}.reader is none of {', '.join(READERS)}")
    url = told.get("url") or ADDRESSES.get(name)
    if not url:
        raise Misconfigured(f"upstream.{name}.url is missing")
    try:
        Address.parse(url)
    except (ValueError, AttributeError, TypeError):
        raise Misconfigured(f"upstream.{name}.url is no address of a provider") from None
    file = told.get("credential_file")
    credential = _secret(path, file) if file else ""
    return Upstream(name=name, url=url.rstrip("/"), reader=reader, credential=credential)


def _caller(told: Mapping[str, Any]) -> tuple[str, KnownKey]:
    _known(told, "a caller", "key_sha256 person service anonymous")
    digest, named = (
        told.get("key_sha256"),
        [told.get(n) for n in ("person", "service") if n in told],
    )
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or len(named) != 1:
        raise Misconfigured("a caller has key_sha256, and either person or service")
    if not isinstance(named[0], str) or not named[0].strip():
        raise Misconfigured("a caller's person or service is a name")
    known = KnownKey(
        person=told.get("person"),
        service=told.get("service"),
        anonymous=told.get("anonymous") is True,
    )
    return digest.lower(), known


def _oidc(told: Mapping[str, str], path: Path) -> Oidc:
    _known(told, "oidc", "issuer audience jwks_file claim")
    try:
        jwks = (path.parent / told["jwks_file"]).read_text(encoding="utf-8")
        issuer, audience = told["issuer"], told["audience"]
    except KeyError as error:
        raise Misconfigured(f"oidc.{error.args[0]} is missing") from None
    return Oidc(issuer=issuer, audience=audience, jwks=jwks, claim=told.get("claim", "sub"))


def _secret(path: Path, name: str) -> str:
    text = (path.parent / name).read_text(encoding="utf-8").strip()
    if not text:
        raise Misconfigured(f"{name} is empty")
    return text


def _ledger(url: str) -> str:
    """Return the ledger's address. Raises ValueError."""
    Address.parse(url if url.startswith("unix:/") else checked_url(url))
    return url


def _listen(text: str) -> tuple[str, int]:
    """Return host and port. Without a host it would be all of them, for anybody who can connect."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and int(port) < 65_536):
        raise Misconfigured("SEALTRAIL_GATEWAY_LISTEN is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _amount(env: Mapping[str, str], name: str, usual: str) -> float:
    try:
        amount = float(env.get(name) or usual)
    except ValueError:
        amount = 0
    if not 0 < amount < 1e9 or (name.endswith("_MIB") and not amount.is_integer()):
        raise Misconfigured(f"{name} is not a number above 0")
    return amount


def _token(env: Mapping[str, str]) -> str:
    if env.get("SEALTRAIL_TOKEN"):
        return env["SEALTRAIL_TOKEN"]
    return Path(_needed(env, "SEALTRAIL_TOKEN_FILE")).read_text(encoding="ascii").strip()


def _needed(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise Misconfigured(f"{name} is not set")
    return env[name]
