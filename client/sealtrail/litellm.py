# SPDX-License-Identifier: Apache-2.0
"""LiteLLM: each request to its proxy on record, by the hooks of it that can refuse.

    litellm_settings:                       # config.yaml; SEALTRAIL_URL, _TOKEN_FILE, _TRUST
      callbacks: sealtrail.litellm.audit    # last, behind whatever changes a prompt

Before the router: GEN_ATTEMPT, or 503 and no provider is called. Behind it: the outcome, or 503 and
no answer. A stream's last chunk waits for the outcome. Kinds of calls that are not read here are
refused, but those that SEALTRAIL_LITELLM_ALLOW names (`aembedding,arerank`). What the router tries
again or elsewhere is one attempt here: a gateway as `api_base` sees each call, and the provider's
own answer.

LiteLLM's SDK, without its proxy, swallows what most of its hooks raise; `sessions` is the way for
what it sends in OpenAI's format.
"""

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from litellm.integrations.custom_logger import (  # type: ignore[import-not-found, unused-ignore]
    CustomLogger,
)

from sealtrail.acting import Acting, ActingFor
from sealtrail.errors import AlreadyCalled, NotRecordable, OutcomeLate, RecorderError, Refused
from sealtrail.providers.anthropic import Anthropic
from sealtrail.providers.exchange import Provider, Told, failed, plain_code
from sealtrail.providers.registry import compatible
from sealtrail.trail import Trail
from sealtrail.watched import Exchange, Watch
from sealtrail.watching import reader_named, transport

if TYPE_CHECKING:
    audit: "Audit"  #: For config.yaml; made from the environment when it is asked for.

#: Kind of call → in whose format it is, and the path that has it there.
_PATHS: Final = {
    "completion": ("openai", "/v1/chat/completions"),
    "image_generation": ("openai", "/v1/images/generations"),
    "responses": ("openai", "/v1/responses"),
    "anthropic_messages": ("anthropic", "/v1/messages"),
}

#: Members of a request that are read; LiteLLM keeps much of its own beside them.
_MEMBERS: Final = (
    "model", "messages", "prompt", "input", "instructions", "system", "image", "images", "size",
    "quality", "style", "response_format", "seed", "n", "temperature", "top_p", "max_tokens",
    "max_completion_tokens", "max_output_tokens", "tools", "stream",
)  # fmt: skip

#: Calls whose end never came are forgotten beyond this; the ledger closes their attempts.
_OPEN_MAX: Final = 10_000

#: LiteLLM's name for whoever holds the master key.
_NOBODY: Final = "default_user_id"


class Withheld(Exception):  # noqa: N818 - an answer, not an accident
    """What LiteLLM answers instead: message, HTTP status and code, as it reads them."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.message, self.status_code, self.code = message, status, code
        self.type, self.param = "server_error" if status >= 500 else "invalid_request_error", None
        self.headers = {"x-should-retry": "false"}


class Audit(CustomLogger):  # type: ignore[misc, unused-ignore]
    """Records what goes through a LiteLLM proxy, for one Trail."""

    def __init__(self, trail: Trail, *, allow: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self._trail, self._allow = trail, allow
        named: dict[str, Provider] = {
            "openai": compatible("litellm"),
            "anthropic": Anthropic("litellm"),
        }
        self._watches = {name: Watch(trail, one, frozenset()) for name, one in named.items()}
        self._open: OrderedDict[str, tuple[Watch, Exchange, Acting]] = OrderedDict()

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,
        cache: Any,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any] | None:
        """Put the attempt on record. Raises Withheld; then no provider is called."""
        del cache
        found = _PATHS.get(call_type) or _PATHS.get(call_type.removeprefix("a"))
        if found is None:
            if call_type in self._allow:
                return None
            message = "The audit cannot put this kind of call on record; nothing was called."
            raise Withheld(403, "not-recordable", message)
        id_, who = str(data.get("litellm_call_id") or ""), _behind(user_api_key_dict, data)
        if not id_ or id_ in self._open:
            raise Withheld(409, "call-id-used", "A call with this id is under way.")
        watch, path = self._watches[found[0]], found[1]
        body = _asked(data, who)
        with ActingFor(who):
            exchange = await _recorded(watch.begin, path, _headers(data), body)
        self._open[id_] = (watch, exchange, who)
        while len(self._open) > _OPEN_MAX:
            self._open.popitem(last=False)
        return None

    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> Any:
        """Put the outcome on record. Raises Withheld; then nothing is answered."""
        del user_api_key_dict
        under = self._open.pop(str(data.get("litellm_call_id")), None)
        if under is None:
            return None
        watch, exchange, who = under
        with ActingFor(who):
            await _recorded(watch.answered, exchange, 200, {}, _printed(response))
        return None

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """Put on record that no answer came, or a refusal."""
        del user_api_key_dict, traceback_str
        under = self._open.pop(str(request_data.get("litellm_call_id")), None)
        if under is not None:
            await self._end(under, _failure(under[0].reader, under[1], original_exception))

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Pass a stream on; its last chunk once the outcome is on record."""
        del user_api_key_dict
        under = self._open.pop(str(request_data.get("litellm_call_id")), None)
        if under is None:
            async for chunk in response:
                yield chunk
            return
        watch, exchange, _ = under
        reader, held, aborted = watch.reader.stream(exchange.asked), None, True
        try:
            async for chunk in response:
                if held is not None:
                    yield held
                held = chunk
                reader.feed(_event(chunk))
            aborted = False
        finally:
            if not aborted and not reader.ended:
                reader.feed(b"data: [DONE]\n\n")
            await self._end(under, reader.told(200, {}, aborted=aborted))
        if held is not None:
            yield held

    async def _end(self, under: tuple[Watch, Exchange, Acting], told: Told) -> None:
        watch, exchange, who = under
        with ActingFor(who):
            await _recorded(watch.end, exchange, told)


def sessions(trail: Trail, *, provider: str = "openai") -> tuple[Any, Any]:
    """Return two HTTP clients for LiteLLM's SDK: `litellm.client_session`, `.aclient_session`.

    Only what LiteLLM sends through OpenAI's SDK goes through them; its other providers do not, and
    are not on record. They need a gateway as `api_base`.
    """
    import httpx  # noqa: PLC0415 - LiteLLM's own HTTP library

    reader = reader_named(provider)
    return (
        httpx.Client(transport=transport(trail, httpx.HTTPTransport(), reader_=reader)),
        httpx.AsyncClient(transport=transport(trail, httpx.AsyncHTTPTransport(), reader_=reader)),
    )


def __getattr__(name: str) -> Any:
    """Make `audit` from the environment, once; a proxy that lacks a setting does not start."""
    if name != "audit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    allow = os.environ.get("SEALTRAIL_LITELLM_ALLOW", "").split(",")
    made = Audit(
        Trail(application="litellm"), allow=frozenset(one.strip() for one in allow if one.strip())
    )
    globals()["audit"] = made
    return made


async def _recorded(record: Any, *arguments: Any) -> Any:
    """Record in a thread, to its end even if nobody waits any more. Raises Withheld."""
    try:
        return await asyncio.shield(asyncio.to_thread(record, *arguments))
    except OutcomeLate as late:
        message = "The outcome came after the ledger had closed the attempt; it is withheld."
        raise Withheld(504, "outcome-late", message) from late
    except AlreadyCalled as again:
        raise Withheld(403, "already-called", str(again)) from again
    except NotRecordable as unknown:
        raise Withheld(400, "not-recordable", str(unknown)) from unknown
    except Refused as refusal:
        message = f"The ledger refused the event ({refusal.code})."
        raise Withheld(403, "audit-refused", message) from refusal
    except RecorderError as problem:
        message = "The audit ledger gave no receipt; nothing is released."
        raise Withheld(503, "audit-unavailable", message) from problem


def _behind(key: Any, data: Mapping[str, Any]) -> Acting:
    """Return for whom a request is made: the end user it names, or the key's own."""
    person = key.end_user_id or (key.user_id if key.user_id != _NOBODY else None)
    if not person:
        message = "This key is shared: name the natural person as `user` of the request."
        raise Withheld(403, "person-missing", message)
    session = data.get("litellm_session_id")
    return Acting(
        person=str(person),
        session=session if isinstance(session, str) and session else None,
        account=key.key_alias or None,
    )


def _asked(data: Mapping[str, Any], who: Acting) -> bytes:
    """Return a request as it goes on, with what earlier hooks have changed, and whose it is."""
    request = {name: data[name] for name in _MEMBERS if data.get(name) is not None}
    return json.dumps(request | {"user": who.person}, default=str).encode()


def _headers(data: Mapping[str, Any]) -> dict[str, str]:
    """Return the one header that counts here: how often an SDK has tried before."""
    sent = data.get("proxy_server_request")
    headers = sent.get("headers") if isinstance(sent, dict) else None
    tried = headers.get("x-stainless-retry-count") if isinstance(headers, dict) else None
    return {"content-type": "application/json"} | (
        {"x-stainless-retry-count": tried} if isinstance(tried, str) else {}
    )


def _printed(answer: Any) -> bytes:
    """Return an answer as JSON, as the proxy gives it."""
    if hasattr(answer, "model_dump_json"):
        text: str = answer.model_dump_json(exclude_none=True)
        return text.encode()
    return json.dumps(answer, default=str).encode()


def _event(chunk: Any) -> bytes:
    """Return one chunk of a stream as the event that goes out."""
    if isinstance(chunk, bytes):
        return chunk
    if isinstance(chunk, str):
        return chunk.encode()
    kind = chunk.get("type") if isinstance(chunk, dict) else None
    head = f"event: {kind}\n".encode() if isinstance(kind, str) else b""
    return head + b"data: " + _printed(chunk) + b"\n\n"


def _failure(reader: Provider, exchange: Exchange, problem: Exception) -> Told:
    """Return what an exception of LiteLLM tells: a provider's refusal, or an error."""
    status = getattr(problem, "status_code", 500)
    status = status if type(status) is int and 400 <= status <= 599 else 500
    error = {"code": getattr(problem, "code", None), "message": str(problem)[:2000]}
    answer = json.dumps({"error": error}, default=str).encode()
    told = reader.told(exchange.asked, status, {}, answer)
    if told.type == "GEN_DENY":
        return told
    name = plain_code(type(problem).__name__)
    return failed(status, name, str(problem)[:2000], facts={})
