# SPDX-License-Identifier: Apache-2.0
"""Reads a certificate: who vouches for whom, from when to when, and for what.

Reading decides nothing. Whether a certificate may do what it is used for is decided in
`certificate_path` and `timestamp`.

Source: RFC 5280 §4; RFC 4514 for the printed form of a name; RFC 7468 for PEM.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from sealtrail.verify import base64text, der
from sealtrail.verify.algorithms import Algorithm
from sealtrail.verify.errors import Unreadable

SUBJECT_KEY_ID: Final = "2.5.29.14"
KEY_USAGE: Final = "2.5.29.15"
BASIC_CONSTRAINTS: Final = "2.5.29.19"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
ANY_USAGE: Final = "2.5.29.37.0"

#: Bits of a key usage (RFC 5280 §4.2.1.3).
DIGITAL_SIGNATURE: Final = 0
NON_REPUDIATION: Final = 1
KEY_CERT_SIGN: Final = 5

_NAME_MAX: Final = 512
_LABELS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.25": "DC",
}
_CHARSETS: Final = {
    0x0C: "utf-8",
    0x12: "ascii",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says.

    raw: the whole certificate in DER; `signed` the part of it that the issuer signed.
    issuer, subject: names in DER, to be compared byte for byte; `print_name` prints them.
    extensions: content and whether it is critical, by object identifier.
    """

    raw: bytes
    signed: bytes
    serial: int
    issuer: bytes
    subject: bytes
    not_before: datetime
    not_after: datetime
    key: der.Element
    algorithm: Algorithm
    signature: bytes
    extensions: Mapping[str, tuple[bool, bytes]]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read one certificate and nothing after it. Raises der.NotDer."""
        outer = der.Fields(der.parse(data, der.SEQUENCE).content)
        body, algorithm, signature = outer.next(der.SEQUENCE), outer.next(), outer.next()
        outer.end()

        fields = der.Fields(body.content)
        version = fields.optional(0xA0)
        number = 0 if version is None else der.integer(der.parse(version.content))
        serial = der.integer(fields.next())
        if fields.next(der.SEQUENCE).raw != algorithm.raw:
            raise der.NotDer("A certificate names two signature algorithms.")
        issuer = fields.next(der.SEQUENCE)
        validity = der.Fields(fields.next(der.SEQUENCE).content)
        not_before, not_after = der.time(validity.next()), der.time(validity.next())
        validity.end()
        subject, key = fields.next(der.SEQUENCE), fields.next(der.SEQUENCE)
        for unique_id in (0x81, 0x82):
            fields.optional(unique_id)
        extensions = fields.optional(0xA3)
        fields.end()
        if (extensions is not None and number != 2) or number not in {0, 1, 2}:
            raise der.NotDer("A certificate is of a version that does not fit its fields.")
        return cls(
            raw=data,
            signed=body.raw,
            serial=serial,
            issuer=issuer.raw,
            subject=subject.raw,
            not_before=not_before,
            not_after=not_after,
            key=key,
            algorithm=Algorithm.read(algorithm),
            signature=der.bits(signature),
            extensions={} if extensions is None else read_extensions(extensions.content),
        )

    def basic_constraints(self) -> tuple[bool, int | None]:
        """Whether it may issue certificates, and how many issuers may stand below it."""
        content = self._content(BASIC_CONSTRAINTS)
        if content is None:
            return False, None
        fields = der.Fields(der.parse(content, der.SEQUENCE).content)
        flag, length = fields.optional(der.BOOLEAN), fields.optional(der.INTEGER)
        fields.end()
        limit = None if length is None else der.integer(length)
        if limit is not None and limit < 0:
            raise der.NotDer("A path length is negative.")
        return flag is not None and der.boolean(flag), limit

    def key_usage(self) -> frozenset[int] | None:
        """The bits that are set; None if the certificate does not say."""
        content = self._content(KEY_USAGE)
        return None if content is None else der.named_bits(der.parse(content))

    def extended_key_usage(self) -> tuple[str, ...] | None:
        """The purposes as object identifiers; None if the certificate does not say."""
        content = self._content(EXTENDED_KEY_USAGE)
        if content is None:
            return None
        return tuple(map(der.oid, der.children(der.parse(content, der.SEQUENCE))))

    def subject_key_id(self) -> bytes | None:
        content = self._content(SUBJECT_KEY_ID)
        return None if content is None else der.octets(der.parse(content))

    def name(self) -> str:
        """The subject, printed."""
        return print_name(self.subject)

    def _content(self, oid: str) -> bytes | None:
        found = self.extensions.get(oid)
        return None if found is None else found[1]


def read_extensions(content: bytes) -> dict[str, tuple[bool, bytes]]:
    """Extensions by object identifier: whether critical, and content. Raises der.NotDer.

    A flag that is written although it is FALSE is not DER; so many authorities write it that it
    is accepted. An extension that stands twice is not.
    """
    found: dict[str, tuple[bool, bytes]] = {}
    for element in der.children(der.parse(content, der.SEQUENCE)):
        if element.tag != der.SEQUENCE:
            raise der.NotDer("An extension is not a sequence.")
        fields = der.Fields(element.content)
        oid = der.oid(fields.next())
        flag = fields.optional(der.BOOLEAN)
        value = der.octets(fields.next())
        fields.end()
        if oid in found:
            raise der.NotDer("An extension stands twice.")
        found[oid] = (flag is not None and der.boolean(flag), value)
    return found


def print_name(name: bytes) -> str:
    """A name in DER as text such as `O=Example, CN=Example Time Stamps`, safe to show anywhere.

    In the order of the certificate. Whatever could move a cursor, end a line, change the direction
    of writing or pretend to be another field is printed as an escape. At most 512 characters.
    """
    try:
        groups = [
            "+".join(map(_print_pair, der.children(group)))
            for group in der.children(der.parse(name, der.SEQUENCE))
        ]
    except der.NotDer:
        return "(unreadable name)"
    text = ", ".join(groups) or "(no name)"
    return text if len(text) <= _NAME_MAX else text[: _NAME_MAX - 1] + "…"


def _print_pair(pair: der.Element) -> str:
    fields = der.Fields(pair.content)
    oid, value = der.oid(fields.next()), fields.next()
    fields.end()
    return f"{_LABELS.get(oid, oid)}={_print_value(value)}"


def _print_value(value: der.Element) -> str:
    charset = _CHARSETS.get(value.tag)
    try:
        text = value.content.decode(charset) if charset else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        return "#" + value.raw.hex()
    escaped = []
    for position, character in enumerate(text):
        at_edge = position == 0 or position == len(text) - 1
        if character in '\\,+"<>;=' or (character == " " and at_edge):
            escaped.append("\\" + character)
        elif character == "#" and position == 0:
            escaped.append("\\#")
        elif character.isprintable():
            escaped.append(character)
        else:
            escaped.append("".join(f"\\{byte:02X}" for byte in character.encode("utf-8")))
    return "".join(escaped)


_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


def certificates_from_pem(text: str) -> list[bytes]:
    """The certificates in a PEM text, as DER, in their order; text around them is ignored.

    Raises Unreadable if one is cut off, not Base64 or not a certificate: who pins a root must not
    be mistaken about what he pinned.
    """
    found: list[bytes] = []
    body: list[str] | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped == _BEGIN:
            if body is not None:
                raise Unreadable("A certificate in PEM begins inside another one.")
            body = []
        elif stripped == _END:
            if body is None:
                raise Unreadable("A certificate in PEM ends that did not begin.")
            data = base64text.decode("".join(body), "A certificate in PEM")
            found.append(Certificate.parse(data).raw)
            body = None
        elif body is not None:
            body.append(stripped)
    if body is not None:
        raise Unreadable("A certificate in PEM is cut off.")
    return found


def to_pem(data: bytes, label: str = "CERTIFICATE") -> str:
    """DER as PEM, lines of 64 characters."""
    body = "\n".join(textwrap.wrap(base64text.encode(data), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
