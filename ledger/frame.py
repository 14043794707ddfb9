# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry's canonical bytes before its place in the log is known.

Of all members, only three values are known to nobody but the writer of a Book: the version in the
stream, the Book's tenant, and the recorded time. RFC 8785 sorts members by name, so each of them
has its fixed place, and all the rest can be printed beforehand, in another process if need be:

    {"_sd":[…],"_sd_alg":"sha-256","actor":{…},"aggregate":{"id":"…","type":"…","version":
                                                                                    ◄ version
    },"body":{…},…,"event_id":"…",…,"schema":1,"source":{…},"tenant":"              ◄ tenant
    ","time":{…,"recorded":"                                                        ◄ recorded
    ","request_received":"…"},"trace":{…},"type":"GEN","v":1}

The client's part, over which `request_digest` goes, is printed from the same pieces. Tests hold
both against sealtrail.verify, which prints an entry from its members.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from ledger.errors import TooLarge
from ledger.printing import canonical_bytes

JSON = dict[str, Any]

#: Members that are sorted behind `time`.
_BEHIND: Final = ("trace", "type", "v")


class Frame(NamedTuple):
    """What stands before, between and behind the three values. A tuple: one is made per event."""

    before: bytes
    body: bytes
    times: bytes
    behind: bytes

    def entry(self, version: int, tenant: bytes, recorded: bytes) -> bytes:
        """Return the entry's canonical bytes.

        tenant and recorded are ASCII that JSON has no need to escape.
        """
        before, body, times, behind = self
        return b"%b%d%b%b%b%b%b" % (before, version, body, tenant, times, recorded, behind)


def framed(
    part: JSON,
    *,
    sd: Sequence[str],
    credential: str | None,
    received: str | None,
    at_most: int,
) -> tuple[Frame, bytes]:
    """Print the client's part of an entry once; return the frame and the `request_digest`.

    part: members as sent, `_sd` among them if the client's digests count; names as the catalogue
    allows them, groups not empty.
    sd: all digests of the entry, sorted: those of the part, and a person's from the token.
    credential, received: what the ledger adds beforehand; None if it does not.
    Raises TooLarge for a part of more than `at_most` bytes.
    """
    aggregate, actor = part["aggregate"], part["actor"]
    given = canonical_bytes(actor)
    # Both are plain ASCII by their own rules.
    named = b'"aggregate":{"id":"%b","type":"%b"' % (
        aggregate["id"].encode(),
        aggregate["type"].encode(),
    )
    middle = {name: part[name] for name in part if name not in _ELSEWHERE}
    body = canonical_bytes(middle)[1:-1]
    time = canonical_bytes(part["time"])[1:-1] if "time" in part else b""
    behind = canonical_bytes({name: part[name] for name in _BEHIND if name in part})[1:]
    sent = part.get("_sd", ())
    digests = _digests(sent)
    client = b"%b%b,%b},%b,%b%b" % (
        b'{%b"actor":' % digests,
        given,
        named,
        body,
        b'"time":{%b},' % time if time else b"",
        behind,
    )
    if len(client) > at_most:
        raise TooLarge(f"this event makes an entry of more than {at_most} bytes; use an artifact")
    if credential is not None:
        given = canonical_bytes({**actor, "credential": credential})
    frame = Frame(
        b'{%b"actor":%b,%b,"version":' % (digests if sd == sent else _digests(sd), given, named),
        b'},%b,"tenant":"' % body,
        b'","time":{%b%b"recorded":"' % (time, b"," if time else b""),
        (b'"},' if received is None else b'","request_received":"%b"},' % received.encode())
        + behind,
    )
    return frame, sha256(client).digest()


def _digests(sd: Sequence[str]) -> bytes:
    """Print `_sd` and `_sd_alg` with a comma behind; nothing if there are no digests."""
    return b'"_sd":["%b"],"_sd_alg":"sha-256",' % '","'.join(sd).encode() if sd else b""


_ELSEWHERE: Final = frozenset({"_sd", "_sd_alg", "actor", "aggregate", "time", *_BEHIND})
