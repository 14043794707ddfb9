# SPDX-License-Identifier: Apache-2.0
r"""Which natural person is behind a request: a key of the register, a token, or a proxy's word.

    the provider's own credential header     a key of ours: a person's, or a service's with
                                             Sealtrail-On-Behalf-Of
    Authorization: Bearer <identity token>   a person, by an issuer whose keys are pinned (OIDC)
    Sealtrail-Person + Sealtrail-Signature   a person, by a proxy that has authenticated them:
        v1=<unix seconds>:<hex HMAC-SHA256(secret, text)>
        text = seconds ‖ "\n" ‖ method ‖ "\n" ‖ path ‖ "\n" ‖ person

A shared account that names nobody is refused unless the register says otherwise. Whoever is found
is committed in the ledger, and never in a log.
"""

import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sealtrail_gateway.settings import KnownKey, Oidc, Settings

#: Headers of the gateway itself; none of them goes upstream.
OWN_HEADERS: Final = frozenset(
    {
        "sealtrail-on-behalf-of",
        "sealtrail-person",
        "sealtrail-signature",
        "sealtrail-consent",
        "sealtrail-session",
        "sealtrail-parent",
    }
)

#: Seconds by which a proxy's signature may be old or early.
_FRESH_S: Final = 60
_SIGNED: Final = re.compile(r"v1=([0-9]{1,12}):([0-9a-f]{64})")
_PERSON_MAX: Final = 256


class NobodyKnown(Exception):  # noqa: N818 - an answer, not an accident
    """No natural person is known to be behind the request. code says why; no value is repeated."""

    def __init__(self, code: str, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who it is. service: through which shared account, if through one."""

    person: str = field(repr=False)
    service: str | None = None
    session: str | None = field(default=None, repr=False)
    consents: tuple[str, ...] = ()
    auth_method: str = "api-key"


class Register:
    """Finds the person behind a request. Pure but for the clock."""

    def __init__(self, settings: Settings, *, now_s: Callable[[], float] = time.time) -> None:
        self._keys = settings.callers
        self._secret = settings.proxy_secret
        self._tokens = None if settings.oidc is None else _Tokens(settings.oidc)
        self._now_s = now_s

    def who(self, method: str, path: str, headers: Mapping[str, str]) -> Caller:
        """Return the caller. headers: names in lower case. Raises NobodyKnown."""
        session = _text(headers.get("sealtrail-session"))
        named = headers.get("sealtrail-consent", "")
        consents = tuple(one.strip() for one in named.split(",") if one.strip())
        if "sealtrail-signature" in headers:
            person, how = self._by_proxy(method, path, headers), "proxy"
            return Caller(person=person, session=session, consents=consents, auth_method=how)
        key = _credential(headers)
        if not key:
            raise NobodyKnown("no-credential", "The request carries no key of this gateway.")
        if self._tokens is not None and key.count(".") == 2:
            person = self._tokens.person(key)
            return Caller(person=person, session=session, consents=consents, auth_method="oidc")
        known = self._keys.get(sha256(key.encode()).hexdigest())
        if known is None:
            raise NobodyKnown("unknown-key", "This gateway does not know the key.")
        return Caller(
            person=_behind(known, headers),
            service=known.service,
            session=session,
            consents=consents,
        )

    def _by_proxy(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        signed = _SIGNED.fullmatch(headers["sealtrail-signature"])
        person = _text(headers.get("sealtrail-person"))
        if self._secret is None or signed is None or person is None:
            raise NobodyKnown("bad-signature", "The proxy's signature is not one.")
        seconds, given = signed.groups()
        text = f"{seconds}\n{method}\n{path}\n{person}".encode()
        if not hmac.compare_digest(hmac.digest(self._secret, text, "sha256").hex(), given):
            raise NobodyKnown("bad-signature", "The proxy's signature is not over this request.")
        if abs(self._now_s() - int(seconds)) > _FRESH_S:
            raise NobodyKnown("old-signature", "The proxy's signature is more than a minute away.")
        return person


class _Tokens:
    """Identity tokens of one issuer (OpenID Connect Core 1.0, section 3.1.3.7)."""

    def __init__(self, oidc: Oidc) -> None:
        from joserfc.jwk import KeySet  # noqa: PLC0415 - an extra

        self._oidc = oidc
        self._keys = KeySet.import_key_set(_json(oidc.jwks))

    def person(self, token: str) -> str:
        from joserfc import jwt  # noqa: PLC0415 - an extra
        from joserfc.errors import JoseError  # noqa: PLC0415

        claims = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": self._oidc.issuer},
            aud={"essential": True, "value": self._oidc.audience},
            exp={"essential": True},
        )
        try:
            decoded = jwt.decode(
                token, self._keys, algorithms=["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
            )
            claims.validate(decoded.claims)
        except (JoseError, ValueError, KeyError) as error:
            raise NobodyKnown("bad-token", "The identity token is not valid here.") from error
        person = _line(decoded.claims.get(self._oidc.claim))
        if person is None:
            raise NobodyKnown("bad-token", "The identity token names nobody.")
        return person


def _behind(known: KnownKey, headers: Mapping[str, str]) -> str:
    if known.person is not None:
        return known.person
    person = _text(headers.get("sealtrail-on-behalf-of"))
    if person is not None:
        return person
    if known.anonymous and known.service is not None:
        return f"anonymous:{known.service}"
    raise NobodyKnown(
        "person-missing",
        "This key is shared: name the natural person in Sealtrail-On-Behalf-Of.",
        status=403,
    )


def _credential(headers: Mapping[str, str]) -> str:
    """Return the key that an SDK sends in the place of the provider's own."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or ""


def _text(field: str | None) -> str | None:
    """Return a line of a header. Most programs send UTF-8 there, and some ISO 8859-1."""
    try:
        return _line(field and field.encode("latin-1").decode())
    except UnicodeDecodeError:
        return _line(field)


def _line(text: Any) -> str | None:
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= _PERSON_MAX:
        return None
    return text.strip() if text.isprintable() else None


def _json(text: str) -> Any:
    import json  # noqa: PLC0415 - once, at start

    return json.loads(text)
