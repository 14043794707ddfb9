# SPDX-License-Identifier: Apache-2.0
"""Providers that queue a call and show its outputs later, under other paths: ComfyUI.

    POST /prompt          attempt on record ─► queued ─► its id, and nothing else
    GET /history/{id}     ended? fetch every file ─► outcome with their digests on record ─► history
    GET /view?filename=…  the same bytes as on record ─► the file; otherwise refused

What a prompt brought forth is shown to the person who asked for it. A gateway that was started
anew knows none of the old prompts: their outputs stay where they are, and the ledger closes their
attempts at the deadline. Where nobody asks for a history, it does the same.
"""

import asyncio
import io
import json
from collections import OrderedDict
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from sealtrail.content import digest_text
from sealtrail.providers.bodies import json_of, read_form
from sealtrail.providers.comfyui import (
    ComfyUi,
    error_of,
    files_of,
    others_of,
    outcome,
    place,
    prompt_in,
)
from sealtrail.providers.exchange import Told, Unspeakable, failed, made, output
from sealtrail_gateway.connections import UpstreamFailed
from sealtrail_gateway.relay import Incoming, Relay, Stopped, Under, failure

Key = tuple[str, str, str]  #: Filename, subfolder and type of a file.

#: Prompts and files that are remembered; older ones are not shown any more.
_PROMPTS_MAX: Final = 4_096
_FILES_MAX: Final = 65_536

_JSON: Final = [(b"content-type", b"application/json")]
_VIEWED: Final = {"filename", "subfolder", "type"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An answer that may go on."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes = field(repr=False)
    event_id: str


@dataclass(slots=True, kw_only=True)
class Queued:
    """A prompt that is queued. shown: digest of its history, once its outcome is on record."""

    under: Under
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    shown: str | None = None


class Queue:
    """Remembers the prompts of one upstream, and which files may be shown to whom."""

    def __init__(self, relay: Relay, found: ComfyUi, at_most: int) -> None:
        """at_most: bytes of one answer or file."""
        self._relay, self._reader, self._at_most = relay, found, at_most
        self._prompts: OrderedDict[str, Queued] = OrderedDict()
        self._asked: set[str] = set()  # Ids that callers chose, whose prompts are on their way.
        self._files: OrderedDict[tuple[str | None, Key], tuple[str, str]] = OrderedDict()

    def takes(self, method: str, path: str) -> bool:
        """Whether a request is one that needs this memory."""
        name = place(path)
        if method == "POST":
            return name in {"prompt", "upload/image", "upload/mask"}
        return name == "view" or prompt_in(path) is not None

    async def answer(self, incoming: Incoming) -> Whole:
        """Return what may go on. Raises Stopped."""
        name = place(incoming.path)
        if name == "prompt":
            work = self._ask(incoming)
        elif name == "view":
            work = self._view(incoming)
        elif name.startswith("upload/"):
            work = self._upload(incoming)
        else:
            work = self._history(incoming, prompt_in(incoming.path) or "")
        return await _to_the_end(work)

    async def _ask(self, incoming: Incoming) -> Whole:
        chosen = json_of(incoming.body.read()).get("prompt_id")
        incoming.body.seek(0)
        if chosen is None:
            return await self._queue(incoming)
        # The history of an id that is used twice could be that of another prompt.
        if prompt_in(f"/history/{chosen}") is None:
            raise Stopped(400, "prompt-id", "A prompt's id is a UUID, or left out.")
        if chosen in self._prompts or chosen in self._asked:
            raise Stopped(409, "prompt-known", "There is a prompt of this id already.")
        self._asked.add(chosen)
        try:
            if await self._is_old(incoming, chosen):
                raise Stopped(409, "prompt-known", "There is a prompt of this id already.")
            return await self._queue(incoming)
        finally:
            self._asked.discard(chosen)

    async def _is_old(self, incoming: Incoming, prompt_id: str) -> bool:
        try:
            status, _, body = await self._fetch(_look(incoming, f"/history/{prompt_id}"))
        except UpstreamFailed as problem:
            raise Stopped(502, f"upstream-{problem.code}", "No answer came.") from None
        return status != 200 or bool(json_of(body))

    async def _queue(self, incoming: Incoming) -> Whole:
        under = await self._relay.begin(incoming)
        try:
            status, fields, body = await self._fetch(incoming)
        except UpstreamFailed as problem:
            await self._relay.end(under, failure(f"upstream-{problem.code}", retryable=True))
            raise Stopped(502, f"upstream-{problem.code}", "No answer came.") from None
        prompt_id = json_of(body).get("prompt_id")
        if status >= 400:
            await self._relay.end(under, self._reader.told(under.asked, status, {}, body))
        elif not isinstance(prompt_id, str) or prompt_id in self._prompts:
            await self._relay.end(under, failure("no-prompt-id", retryable=False))
            raise Stopped(502, "no-prompt-id", "The prompt was queued without an id of its own.")
        else:
            self._prompts[prompt_id] = Queued(under=under)
            while len(self._prompts) > _PROMPTS_MAX:
                self._prompts.popitem(last=False)
        return Whole(status=status, fields=fields, body=body, event_id=under.attempt.event_id)

    async def _history(self, incoming: Incoming, prompt_id: str) -> Whole:
        queued = self._prompts.get(prompt_id)
        if queued is None or queued.under.incoming.caller.person != incoming.caller.person:
            raise Stopped(404, "prompt-unknown", "No prompt of this id was recorded here.")
        attempt = queued.under.attempt.event_id
        async with queued.turn:
            try:
                status, _, body = await self._fetch(_look(incoming, f"/history/{prompt_id}"))
                entry = json_of(body).get(prompt_id)
                if status != 200 or not isinstance(entry, dict) or outcome(entry) is None:
                    return Whole(status=200, fields=_JSON, body=b"{}", event_id=attempt)
                shown = json.dumps({prompt_id: entry}).encode()
                if queued.shown is None:
                    files, told = await self._made(incoming, entry)
                    await self._relay.end(queued.under, told)
                    self._remember(incoming.caller.person, files, attempt)
                    queued.shown = digest_text(shown)
            except UpstreamFailed as problem:
                raise Stopped(502, f"upstream-{problem.code}", "No answer came.") from None
        if queued.shown != digest_text(shown):
            raise Stopped(409, "history-changed", "The history is not the one that was recorded.")
        return Whole(status=200, fields=_JSON, body=shown, event_id=attempt)

    async def _made(self, incoming: Incoming, entry: dict[str, Any]) -> tuple[dict[Key, str], Told]:
        """Fetch all that came out. Returns digests of the files, and the outcome."""
        if outcome(entry) == "error":
            return {}, error_of(entry)
        outputs, digests = [], {}
        for key in files_of(entry):
            status, _, data = await self._fetch(_look(incoming, _view_of(key)))
            if status != 200:
                raise UpstreamFailed("file-missing")
            outputs.append(await asyncio.to_thread(output, data))
            digests[key] = outputs[-1]["sha256"]
        rest = others_of(entry)
        if rest is not None:
            outputs.append(output(rest, mime="application/json"))
        if not outputs:
            return {}, failed(500, "no-output", "", facts={})
        return digests, made(outputs, facts={"usage": {"images": len(digests)}})

    def _remember(self, person: str | None, files: dict[Key, str], attempt: str) -> None:
        for key, digest in files.items():
            self._files[person, key] = (digest, attempt)
        while len(self._files) > _FILES_MAX:
            self._files.popitem(last=False)

    async def _view(self, incoming: Incoming) -> Whole:
        asked = parse_qs(urlsplit(incoming.target).query, keep_blank_values=True)
        if not set(asked) <= _VIEWED or any(len(one) != 1 for one in asked.values()):
            # A smaller copy, or one channel, is another picture than the one on record.
            raise Stopped(403, "not-recorded", "Only whole files as they were recorded are shown.")
        told = {name: values[0] for name, values in asked.items()}
        key = (told.get("filename", ""), told.get("subfolder", ""), told.get("type", "output"))
        known = self._files.get((incoming.caller.person, key))
        if known is None:
            raise Stopped(404, "not-recorded", "The outcome with this file is not on record.")
        digest, attempt = known
        try:
            status, fields, body = await self._fetch(_look(incoming, _view_of(key)))
        except UpstreamFailed as problem:
            raise Stopped(502, f"upstream-{problem.code}", "No answer came.") from None
        if status != 200 or await asyncio.to_thread(digest_text, body) != digest:
            raise Stopped(409, "file-changed", "The file is not the one that was recorded.")
        return Whole(status=200, fields=fields, body=body, event_id=attempt)

    async def _upload(self, incoming: Incoming) -> Whole:
        """Pass an input on, and remember its digest for the prompts that will name it."""
        try:
            files = read_form(incoming.headers, incoming.body).files
        except Unspeakable as problem:
            raise Stopped(400, "not-recordable", f"This cannot go on record: {problem}.") from None
        incoming.body.seek(0)
        try:
            status, fields, body = await self._fetch(incoming)
        except UpstreamFailed as problem:
            raise Stopped(502, f"upstream-{problem.code}", "No answer came.") from None
        told = json_of(body)
        name, folder = told.get("name"), told.get("subfolder")
        if status < 300 and isinstance(name, str) and len(files) == 1:
            self._reader.uploaded(f"{folder}/{name}" if folder else name, files[0].sha256)
        return Whole(status=status, fields=fields, body=body, event_id="none")

    async def _fetch(self, incoming: Incoming) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Send a request and return its whole answer. Raises UpstreamFailed."""
        async with self._relay.pass_through(incoming) as reply:
            return reply.status, reply.passed_on(), await reply.whole(self._at_most)


def _look(incoming: Incoming, target: str) -> Incoming:
    """Return a look of our own at the same upstream."""
    return replace(incoming, method="GET", target=target, headers={}, body=io.BytesIO())


def _view_of(key: Key) -> str:
    return "/view?" + urlencode(dict(zip(("filename", "subfolder", "type"), key, strict=True)))


async def _to_the_end(work: Coroutine[Any, Any, Whole]) -> Whole:
    """Finish what was begun, even if the caller has gone: the call has an outcome, too."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Stopped):
            await task
        raise
