# SPDX-License-Identifier: Apache-2.0
r"""Personal facts stay outside the log: an entry holds only a salted digest of each.

    salt_f   = b64u(HMAC-SHA256(record_key, "sealtrail.sd.salt.v1\0" ‖ name)[:16])
    D_f      = b64u(UTF-8(JCS([salt_f, name, value])))              the disclosure of one field
    digest_f = b64u(SHA-256(ASCII(D_f)))                            one element of the entry's _sd

Whoever holds a disclosure can show the fact and that the entry commits to it; without the
disclosure the digest tells nothing, because 128 bits of salt cannot be guessed. `record_key` is
32 random bytes, made anew for each event by the one who records it. Names are dotted paths such
as `prompt.user` or `inputs[0].sha256`. b64u is base64url without padding, in its one spelling.
Source: RFC 9901 §4.2 (disclosures), RFC 4648 §5, RFC 8785.
"""

import binascii
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from sealtrail.verify import canonical
from sealtrail.verify.canonical import JSON
from sealtrail.verify.errors import Refuted, Unreadable

RECORD_KEY_BYTES = 32
SALT_BYTES = 16
NAME_MAX = 128
VALUE_MAX = 64 * 1024  #: Bytes of canonical JSON; what is larger is an artifact with a digest.

#: The committed name of the natural person behind an event.
PERSON = "actor.subject_id"

_SALT = b"sealtrail.sd.salt.v1\0"
_PART = r"[A-Za-z_][A-Za-z0-9_]*(?:\[[0-9]{1,3}\])?"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")

#: The longest text that a name and value within their limits can have as a disclosure.
_DISCLOSURE_MAX = (VALUE_MAX + NAME_MAX + 64) * 4 // 3


class BadDisclosure(Unreadable):
    """This is no disclosure, or no field that can be committed to."""

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule  #: Stable name of the broken rule, such as `name`.


class NotCommitted(Refuted):
    """The entry does not commit to this disclosure."""


def salt(record_key: bytes, name: str) -> str:
    """The salt of the field `name`: 22 characters for 16 bytes."""
    if len(record_key) != RECORD_KEY_BYTES:
        raise BadDisclosure("A record key is 32 bytes long.", rule="record-key")
    mac = hmac.digest(record_key, _SALT + _checked(name).encode("ascii"), "sha256")
    return encode_base64url(mac[:SALT_BYTES])


def disclose(record_key: bytes, name: str, value: JSON) -> str:
    """The disclosure that shows `value` as the field `name`; same input, same text.

    Raises BadDisclosure for a bad name or a value over 64 KiB, NotCanonical for one that is not
    JSON as this format allows it.
    """
    _require_small(canonical.encode(value))
    return encode_base64url(canonical.encode([salt(record_key, name), name, value]))


def digest(disclosure: str) -> str:
    """What an entry's `_sd` holds for this disclosure: 43 characters for 32 bytes."""
    return encode_base64url(sha256(disclosure.encode("ascii")).digest())


def commit(record_key: bytes, fields: Mapping[str, JSON]) -> tuple[list[str], dict[str, str]]:
    """The digests of all fields, sorted as `_sd` wants them, and each field's disclosure."""
    disclosures = {name: disclose(record_key, name, value) for name, value in fields.items()}
    return sorted(digest(text) for text in disclosures.values()), disclosures


def open_disclosure(disclosure: str) -> tuple[str, str, JSON]:
    """Salt, name and value of a disclosure; raises Unreadable unless it is spelled exactly."""
    if len(disclosure) > _DISCLOSURE_MAX:
        raise BadDisclosure("The disclosure is longer than any can be.", rule="size")
    parts = canonical.decode(decode_base64url(disclosure))
    if not isinstance(parts, list) or len(parts) != 3:
        raise BadDisclosure("A disclosure is a list of salt, name and value.", rule="shape")
    text, name, value = parts
    if not isinstance(text, str) or not isinstance(name, str):
        raise BadDisclosure("A disclosure's salt and name are strings.", rule="shape")
    if len(decode_base64url(text)) != SALT_BYTES:
        raise BadDisclosure("A disclosure's salt is 16 bytes long.", rule="salt")
    _require_small(canonical.encode(value))
    return text, _checked(name), value


def check_disclosure(disclosure: str, sd: Sequence[str]) -> tuple[str, JSON]:
    """Name and value of a disclosure that an entry with these `_sd` digests commits to.

    Raises Unreadable for what is no disclosure, and NotCommitted for one of another entry.
    """
    _salt, name, value = open_disclosure(disclosure)
    if digest(disclosure) not in sd:
        raise NotCommitted
    return name, value


def check_disclosures(disclosures: Iterable[str], sd: Sequence[str]) -> dict[str, JSON]:
    """All fields that these disclosures show, by name; a name shown twice is refused.

    Otherwise someone who committed to two values of one field could show whichever suits.
    """
    fields: dict[str, JSON] = {}
    for disclosure in disclosures:
        name, value = check_disclosure(disclosure, sd)
        if name in fields:
            raise NotCommitted("Two disclosures show one field of the entry.")
        fields[name] = value
    return fields


def is_name(name: str) -> bool:
    """Whether a field of this name can be committed to."""
    return len(name) <= NAME_MAX and _NAME.fullmatch(name) is not None


def encode_base64url(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """The bytes of `text`; raises BadDisclosure unless it is their one spelling."""
    try:
        data = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error):
        data = None
    # Python's decoder skips what it does not know; printing again shows what was skipped.
    if data is None or encode_base64url(data) != text:
        raise BadDisclosure("The text is not base64url without padding.", rule="base64url")
    return data


def _checked(name: str) -> str:
    if not is_name(name):
        raise BadDisclosure(
            "A committed field's name is a dotted path of up to 128 characters.", rule="name"
        )
    return name


def _require_small(printed: bytes) -> None:
    if len(printed) > VALUE_MAX:
        raise BadDisclosure("A committed value is larger than 64 KiB.", rule="size")
