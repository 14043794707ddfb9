# SPDX-License-Identifier: Apache-2.0
"""Streams of events (WHATWG server-sent events), read while they pass.

SDKs stop reading at a terminal event and never see the end of the connection, so "exhausted" says
nothing. From the terminal event on everything is kept back, until the outcome is on record.
"""

import json
from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Any, Final

from sealtrail.content import digest_text
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    Headers,
    Told,
    Unspeakable,
    failed,
    made,
)
from sealtrail.request import new_event_id

#: One event is at most so large: a picture in Base64.
EVENT_MAX: Final = 64 * 1024 * 1024

#: Text of an answer that is held, to be hashed by itself; more is hashed with the stream only.
TEXT_MAX: Final = 16 * 1024 * 1024


class EventStream(ABC):
    """A StreamReader for events; each provider says what an event means."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.ended = False
        self.outputs: list[JSON] = []
        self.facts: JSON = {}
        self._raw, self._size = sha256(), 0
        self._waiting = b""  # The beginning of an event,
        self._searched = 0  # in which no end was found before here.
        self._kept = b""
        self._released = False

    @abstractmethod
    def event(self, name: str, data: Any) -> bool:
        """Take one event and say if it is the terminal one. data: JSON, or text if it is none."""

    @abstractmethod
    def finished(self, headers: Headers) -> Told | None:
        """Return the outcome of a stream that ended well; None for the usual GEN."""

    def feed(self, data: bytes) -> bytes:
        self._raw.update(data)
        self._size += len(data)
        if self.ended:
            self._kept += data
            return b""
        released = b""
        self._waiting += data
        while not self.ended:
            end = _event_end(self._waiting, self._searched)
            if end < 0:
                if len(self._waiting) > EVENT_MAX:
                    raise Unspeakable("an event of the stream is larger than 64 MiB")
                self._searched = max(0, len(self._waiting) - 3)
                break
            whole, self._waiting = self._waiting[:end], self._waiting[end:]
            self._searched = 0
            if self._take(whole):
                self.ended = True
                self._kept, self._waiting = whole + self._waiting, b""
            else:
                released += whole
        self._released = self._released or bool(released)
        return released

    def rest(self) -> bytes:
        kept, self._kept = self._kept + self._waiting, b""
        self._waiting = b""
        return kept

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        facts = self.facts
        if self.ended and (told := self.finished(headers)) is not None:
            return told
        if not self.ended and (aborted or self.must_end()):
            if not self._released:
                code = "stream-aborted"
                return failed(status, code, "", facts=facts, retryable=True)
            facts = {**facts, "finish_reason": "aborted"}
            return made([*self.outputs, self._stream_output()], facts=facts, partial=True)
        return made([*self.outputs, self._stream_output()], facts=facts)

    def must_end(self) -> bool:
        """Whether a stream of this format is broken if its terminal event never came."""
        return True

    def _take(self, whole: bytes) -> bool:
        name, lines = "", []
        for line in whole.decode("utf-8", errors="replace").splitlines():
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                lines.append(value)
        if not lines:
            return False
        text = "\n".join(lines)
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError):
            data = text
        return self.event(name, data)

    def _stream_output(self) -> JSON:
        """Return the whole stream as one output."""
        return {
            "asset_id": new_event_id(),
            "sha256": f"sha256:{self._raw.hexdigest()}",
            "mime": "text/event-stream",
            "size": str(self._size),
        }


class Spoken:
    """The pieces of one text, put together as far as they are held."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, piece: Any) -> None:
        if isinstance(piece, str) and self._length <= TEXT_MAX:
            self._pieces.append(piece)
            self._length += len(piece)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def output(self) -> JSON | None:
        """Return the text as an output; None for no text, or one that was too long to be held."""
        if not self._length or self._length > TEXT_MAX:
            return None
        data = self.text.encode(errors="replace")
        return {
            "asset_id": new_event_id(),
            "sha256": digest_text(data),
            "mime": "text/plain",
            "size": str(len(data)),
        }


def _event_end(data: bytes, start: int) -> int:
    """Return the offset behind the first empty line, or -1."""
    ends = [
        at + len(mark)
        for mark in (b"\n\n", b"\r\n\r\n", b"\r\r")
        if (at := data.find(mark, start)) >= 0
    ]
    return min(ends, default=-1)
