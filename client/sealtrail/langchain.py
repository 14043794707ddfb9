# SPDX-License-Identifier: Apache-2.0
"""LangChain: calls of chat models and LLMs, by a callback handler that can refuse.

    chain.invoke(question, config={"callbacks": [sealtrail.langchain.Audit(trail)]})

LangChain swallows what a handler raises unless `raise_error` is set, and never waits for an async
handler in a sync call; so this one is sync, for which it waits in async calls as well. Tokens of a
stream are handed on as they come: what is withheld then is only the end. A base URL or
`trail.watch` holds back more.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from sealtrail.calls import Call
from sealtrail.models import plain_params

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from sealtrail.trail import Trail

_PARAMS = {"ls_temperature": "temperature", "ls_max_tokens": "max_tokens"}


class Audit(BaseCallbackHandler):
    """Records each call of a model; raises instead of letting one go by. Safe for threads."""

    raise_error = True
    run_inline = True  # In async calls, too, in the place of the call and not beside it.

    def __init__(self, trail: "Trail") -> None:
        self._trail = trail
        self._lock = threading.Lock()
        self._calls: dict[UUID, Call] = {}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: "list[list[BaseMessage]]",
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        spoken = [(one.type, _text(one.content)) for group in messages for one in group]
        self._start(run_id, spoken, serialized, metadata or {}, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        spoken = [("human", prompt) for prompt in prompts]
        self._start(run_id, spoken, serialized, metadata or {}, kwargs)

    def on_llm_end(self, response: "LLMResult", *, run_id: UUID, **kwargs: Any) -> None:
        del kwargs
        call = self._taken(run_id)
        if call is None:
            return
        for group in response.generations:
            for one in group:
                call.output(one.text, mime="text/plain")
                _note(call, getattr(one, "message", None))
        call.finish()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        del kwargs
        call = self._taken(run_id)
        if call is not None:
            call.finish(error)

    def _start(
        self,
        run_id: UUID,
        spoken: list[tuple[str, str]],
        serialized: Mapping[str, Any] | None,
        metadata: Mapping[str, Any],
        kwargs: Mapping[str, Any],
    ) -> None:
        asked = kwargs.get("invocation_params") or {}
        name = metadata.get("ls_model_name") or asked.get("model") or asked.get("model_name")
        name = name or (serialized or {}).get("name") or "unnamed"
        sealed: dict[str, Any] = {"prompt.rendered": [f"{role}: {text}" for role, text in spoken]}
        system = "\n".join(text for role, text in spoken if role == "system")
        if system:
            sealed["prompt.system"] = system
        said = next((text for role, text in reversed(spoken) if role == "human"), None)
        params = {ours: metadata[theirs] for theirs, ours in _PARAMS.items() if theirs in metadata}
        call = self._trail.gen(
            model={
                "provider": str(metadata.get("ls_provider") or "langchain"),
                "name": str(name)[:256],
                "version": "hosted",
            },
            prompt=said,
            operation="chat",
            params=plain_params(params),
            sealed=sealed,
        )
        call.start()
        with self._lock:
            self._calls[run_id] = call

    def _taken(self, run_id: UUID) -> Call | None:
        with self._lock:
            return self._calls.pop(run_id, None)


def _text(content: Any) -> str:
    """Return the text of a message; of its other parts, that they are there."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(
        part if isinstance(part, str) else str(part.get("text", f"[{part.get('type')}]"))
        for part in parts
    )


def _note(call: Call, message: Any) -> None:
    """Take over what a message says of its use and its model."""
    used = getattr(message, "usage_metadata", None)
    if used:
        call.usage(input_tokens=used["input_tokens"], output_tokens=used["output_tokens"])
    told = getattr(message, "response_metadata", None) or {}
    if told.get("model_name"):
        call.answered(model_returned=str(told["model_name"])[:256])
    if told.get("system_fingerprint"):
        call.answered(system_fingerprint=str(told["system_fingerprint"])[:256])
