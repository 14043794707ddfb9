# SPDX-License-Identifier: Apache-2.0
"""Streams of events (WHATWG server-sent events), read while they pass.

SDKs stop reading at a terminal event and never see the end of the connection, so "exhausted" says
nothing. From the terminal event on everything is kept back, until the outcome is on record.
"""

import json
import re
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

#: Texts that one answer may have, side by side.
_TEXTS_MAX: Final = 1_024

#: What ends a line, and nothing else: JSON may hold other line separators of Unicode as they are.
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_EVENT_END: Final = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)")


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
        self._kept: list[bytes] = []
        self._kept_size = 0
        self.released = False

    @abstractmethod
    def event(self, name: str, data: Any) -> bool:
        """Take one event and say if it is the terminal one. data: JSON, or text if it is none."""

    @abstractmethod
    def finished(self, headers: Headers) -> Told | None:
        """Return the outcome of a stream that ended well; None for the usual GEN."""

    @abstractmethod
    def gather(self, headers: Headers) -> None:
        """Set `facts`, and add to `outputs` what was put together: no further event comes."""

    def feed(self, data: bytes) -> bytes:
        self._raw.update(data)
        self._size += len(data)
        released = b""
        self._waiting += data
        while (found := _EVENT_END.search(self._waiting, self._searched)) is not None:
            whole, self._waiting = self._waiting[: found.end()], self._waiting[found.end() :]
            self._searched = 0
            # What comes behind the terminal event is released with it, so it is read as well.
            self.ended = self._take(whole) or self.ended
            if self.ended:
                self._kept.append(whole)
                self._kept_size += len(whole)
            else:
                released += whole
        if max(len(self._waiting), self._kept_size) > EVENT_MAX:
            raise Unspeakable("an event of the stream is larger than 64 MiB")
        self._searched = max(0, len(self._waiting) - 3)
        self.released = self.released or bool(released)
        return released

    def rest(self) -> bytes:
        kept = b"".join([*self._kept, self._waiting])
        self._kept, self._kept_size, self._waiting = [], 0, b""
        return kept

    def told(self, status: int, headers: Headers, *, aborted: bool) -> Told:
        del status
        if not aborted and not self.ended and self._waiting:
            self.ended = self._take(self._waiting)  # The last one may lack its empty line.
        self.gather(headers)
        whole = self.ended or not (aborted or self.must_end())
        if whole and (told := self.finished(headers)) is not None:
            return told
        if not whole:
            if not self.released:
                return failed(200, "stream-aborted", "", facts=self.facts, retryable=True)
            return self.cut_short("aborted")
        return made([*self.outputs, self._stream_output()], facts=self.facts)

    def cut_short(self, reason: str) -> Told:
        """Return the outcome of a stream that was stopped after it had put something out."""
        facts = {**self.facts, "finish_reason": reason}
        return made([*self.outputs, self._stream_output()], facts=facts, partial=True)

    def must_end(self) -> bool:
        """Whether a stream of this format is broken if its terminal event never came."""
        return True

    def _take(self, whole: bytes) -> bool:
        name, lines = "", []
        for line in _LINE_END.split(whole.decode("utf-8-sig", errors="replace")):
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


class Voices:
    """Several texts of one answer, such as its choices: each put together from its own pieces."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, ...], Spoken] = {}
        self._length = 0

    def add(self, piece: Any, *place: Any) -> None:
        """Add a piece to the text at a place; a place that is no number is the first."""
        if not isinstance(piece, str) or not piece:
            return
        at = tuple(one if type(one) is int else 0 for one in place)
        self._length += len(piece)
        if self._is_held and (at in self._texts or len(self._texts) < _TEXTS_MAX):
            self._texts.setdefault(at, Spoken()).add(piece)
        else:
            self._length = TEXT_MAX + 1

    @property
    def text(self) -> str:
        return "\n".join(one.text for one in self._texts.values())

    def outputs(self) -> list[JSON]:
        """Return each text as an output; none where they were too long to be held."""
        found = [self._texts[at].output() for at in sorted(self._texts)] if self._is_held else []
        return [one for one in found if one is not None]

    @property
    def _is_held(self) -> bool:
        return self._length <= TEXT_MAX
