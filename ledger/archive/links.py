# SPDX-License-Identifier: GPL-3.0-or-later
r"""Links that open one artifact for one purpose and a short time, without a token.

    ?by=<credential>&expires=<ms>&purpose=<code>&signature=<base64url>
    signature = HMAC(links/<origin>,
                     "sealtrail.link.v1\0" ‖ JCS([action, artifact, by, purpose, expires]))

A link says who asked for it, so that its use is recorded as theirs; it dies with their credential.
It holds ids and codes only, because addresses end up in logs.
"""

import hmac
import re
from dataclasses import dataclass
from typing import Final, Literal

from ledger import clock
from ledger.clock import Clock
from ledger.errors import Forbidden, Refused
from ledger.keys import KeyExists, Keys
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import decode_base64url, encode_base64url
from sealtrail.verify.errors import VerifyError

Action = Literal["upload", "download"]

_LINK: Final = b"sealtrail.link.v1\0"
_MS: Final = re.compile(r"[1-9][0-9]{0,14}")


class LinkRefused(Forbidden):
    """This link was changed, or is for something else."""

    problem = "link-refused"


class LinkExpired(Refused):
    """This link has expired; ask for a new one."""

    status = 410
    problem = "link-expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a link allows."""

    action: Action
    artifact_id: str
    credential: str  #: Who asked for it, by the random id of their credential.
    purpose: str  #: A code.
    expires_ms: int


class Links:
    """Makes and checks the links of one Book. origin: its first one (`BookRow.first_origin`)."""

    def __init__(self, keys: Keys, origin: str, *, now_ms: Clock = clock.now_ms) -> None:
        self._keys, self._key, self._now_ms = keys, f"links/{origin}", now_ms

    def query(self, grant: Grant) -> str:
        """Return what follows the question mark of a link."""
        if not self._keys.has(self._key):
            self._make_key()
        signature = encode_base64url(self._keys.mac(self._key, _message(grant)))
        return (
            f"by={grant.credential}&expires={grant.expires_ms}"
            f"&purpose={grant.purpose}&signature={signature}"
        )

    def check(
        self,
        action: Action,
        artifact_id: str,
        *,
        by: str,
        expires: str,
        purpose: str,
        signature: str,
    ) -> Grant:
        """Return what a link grants; raises LinkRefused for any that is not ours, LinkExpired."""
        if not _MS.fullmatch(expires) or not self._keys.has(self._key):
            raise LinkRefused
        grant = Grant(
            action=action,
            artifact_id=artifact_id,
            credential=by,
            purpose=purpose,
            expires_ms=int(expires),
        )
        try:
            given = decode_base64url(signature)
        except VerifyError:
            raise LinkRefused from None
        if not hmac.compare_digest(given, self._keys.mac(self._key, _message(grant))):
            raise LinkRefused
        if self._now_ms() >= grant.expires_ms:
            raise LinkExpired
        return grant

    def _make_key(self) -> None:
        try:
            self._keys.make(self._key, "hmac")
        except KeyExists:  # Another process was faster.
            return


def _message(grant: Grant) -> bytes:
    # A list of strings has one spelling: no two grants share a message.
    parts = [grant.action, grant.artifact_id, grant.credential, grant.purpose]
    return _LINK + canonical.encode([*parts, str(grant.expires_ms)])
