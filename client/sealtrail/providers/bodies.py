# SPDX-License-Identifier: Apache-2.0
"""Requests, read without trust in their size: JSON, and forms in parts (RFC 7578).

A file of a form is hashed as it passes; only short fields are held.
"""

import json
import re
from base64 import b64decode
from binascii import Error as BadBase64
from dataclasses import dataclass
from email.message import Message
from hashlib import sha256
from typing import Any, BinaryIO, Final

from sealtrail.providers.exchange import JSON, Headers, Unspeakable

#: A request in JSON is at most so large, in bytes: pictures in it are Base64.
JSON_MAX: Final = 64 * 1024 * 1024

#: A field of a form, and the head of a part.
FIELD_MAX: Final = 256 * 1024
_HEAD_MAX: Final = 16 * 1024
_PARTS_MAX: Final = 128
_PARAMETER: Final = re.compile(r'\s*;\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=("[^"\\]*"|[^\s;"]+)')
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_LINE_END: Final = re.compile(rb"[ \t]*\r\n")
_AS_IT_IS: Final = frozenset({"", "7bit", "8bit", "binary"})
_PIECE: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a form: its field, digest and size in bytes. Its name may be personal."""

    field: str
    sha256: str
    size: int
    mime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form in parts. A field `name[]` that is sent more than once keeps its last value."""

    fields: dict[str, str]
    files: list[File]


def read_json(body: BinaryIO) -> JSON:
    """Read a request in JSON. Raises Unspeakable for one that others could read otherwise.

    Of a member that is there twice some readers take the first and some the last, and some do not
    tell `Prompt` from `prompt`: what is recorded would not be what the model is given.
    """
    data = body.read(JSON_MAX + 1)
    if len(data) > JSON_MAX:
        raise Unspeakable("the request is larger than 64 MiB")
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Unspeakable("the request is not JSON") from None
    if not isinstance(value, dict):
        raise Unspeakable("the request is not a JSON object")
    if len({name.casefold() for name in value}) != len(value):
        raise Unspeakable("two members of the request differ by their case only")
    return value


def _once(pairs: list[tuple[str, Any]]) -> JSON:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unspeakable("a member of the request is there twice")
    return members


def json_of(data: bytes) -> JSON:
    """Read an answer; nothing for what is no JSON object."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").lower().startswith("multipart/form-data")


def read_form(headers: Headers, body: BinaryIO) -> Form:
    """Read a form in parts. Raises Unspeakable for one that no reader can be sure of."""
    return _Parts(body, _boundary(headers.get("content-type", "")).encode()).read()


def _boundary(kind: str) -> str:
    """Return the boundary that a media type names. Raises Unspeakable.

    Of two, some readers take the first and some the last.
    """
    at, found = kind.find(";"), []
    while 0 <= at < len(kind.rstrip("; \t")):
        one = _PARAMETER.match(kind, at)
        if one is None:
            raise Unspeakable("the form's media type cannot be read")
        if one[1].partition("*")[0].lower() == "boundary":
            found.append((one[1].lower(), one[2].strip('"')))
        at = one.end()
    if len(found) != 1 or found[0][0] != "boundary" or not _BOUNDARY.fullmatch(found[0][1]):
        raise Unspeakable("the form names no boundary, or two")
    return found[0][1]


def data_url(text: Any) -> tuple[bytes, str] | None:
    """Return bytes and media type of a `data:` URL in Base64; None for anything else."""
    if not isinstance(text, str) or not text.startswith("data:"):
        return None
    head, comma, rest = text[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None
    data = unbase64(rest)
    return None if data is None else (data, head[: -len(";base64")] or "text/plain")


def unbase64(text: Any) -> bytes | None:
    """Return the bytes of Base64, or None."""
    if not isinstance(text, str):
        return None
    try:
        return b64decode(text, validate=True)
    except (BadBase64, ValueError):
        return None


class _Parts:
    """Cuts a form at its boundary; holds one piece and a boundary's length at a time."""

    def __init__(self, body: BinaryIO, boundary: bytes) -> None:
        self._body = body
        self._mark = b"\r\n--" + boundary
        self._held = b"\r\n"  # The first boundary has no line break before it.
        self._over = False

    def read(self) -> Form:
        fields: dict[str, str] = {}
        files: list[File] = []
        for _ in self._until_mark():
            pass  # What stands before the first boundary is nobody's.
        for _ in range(_PARTS_MAX):
            if self._is_end():
                return Form(fields=fields, files=files)
            name, mime, is_file = self._head()
            if is_file:
                running, size = sha256(), 0
                for piece in self._until_mark():
                    running.update(piece)
                    size += len(piece)
                digest = f"sha256:{running.hexdigest()}"
                files.append(File(field=name, sha256=digest, size=size, mime=mime))
            else:
                if name in fields and not name.endswith("[]"):
                    raise Unspeakable("a field of the form is there twice")
                fields[name] = self._field()
        raise Unspeakable("the form has more than 128 parts")

    def _field(self) -> str:
        data = b""
        for piece in self._until_mark():
            data += piece
            if len(data) > FIELD_MAX:
                raise Unspeakable("a field of the form is larger than 256 KiB")
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise Unspeakable("a field of the form is not UTF-8") from None

    def _until_mark(self) -> Any:
        """Yield what comes before the next boundary, and go behind it."""
        while True:
            at = self._held.find(self._mark)
            if at >= 0:
                yield self._held[:at]
                self._held = self._held[at + len(self._mark) :]
                return
            keep = len(self._mark) - 1
            if len(self._held) > keep:
                yield self._held[:-keep]
                self._held = self._held[-keep:]
            self._more()

    def _is_end(self) -> bool:
        while len(self._held) < 2:
            self._more()
        return self._held[:2] == b"--"

    def _head(self) -> tuple[str, str, bool]:
        """Return field, media type and whether it is a file, from the lines before a part."""
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > _HEAD_MAX:
                raise Unspeakable("the head of a part is too long")
            self._more()
        lines, self._held = self._held[:end], self._held[end + 4 :]
        begun = _LINE_END.match(lines + b"\r\n")
        if begun is None:  # A longer line that begins as the boundary does: others read on.
            raise Unspeakable("a line of the form only begins with its boundary")
        message = Message()
        for line in lines[begun.end() :].decode("utf-8", errors="replace").split("\r\n"):
            name, colon, value = line.partition(":")
            if not colon or name.strip() in message:
                raise Unspeakable("the head of a part cannot be read")
            message[name.strip()] = value.strip()
        if message.get("content-transfer-encoding", "").lower() not in _AS_IT_IS:
            raise Unspeakable("a part of the form is encoded")
        told = message.get_params([], header="content-disposition")
        names = [value for name, value in told if name.lower() == "name"]
        if len(names) != 1 or not isinstance(names[0], str):
            raise Unspeakable("a part of the form has no name, or two")
        is_file = message.get_param("filename", header="content-disposition") is not None
        return names[0], message.get_content_type(), is_file

    def _more(self) -> None:
        piece = self._body.read(_PIECE)
        if not piece:
            raise Unspeakable("the form ends before its last boundary")
        self._held += piece
