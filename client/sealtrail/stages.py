# SPDX-License-Identifier: Apache-2.0
"""What comes before and after a call: assets, training runs, deliveries, as bodies of events."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from sealtrail.calls import Call, code_of, words_of
from sealtrail.content import Content, content_of, is_digest, kind_of, named_file
from sealtrail.models import PARAMS
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id, now_text

if TYPE_CHECKING:
    from sealtrail.trail import Trail

JSON = dict[str, Any]

_LICENCE: Final = ("licence:", "license:")
_TEXTS: Final = {"prompt": "prompt.user", "negative_prompt": "prompt.negative"}


def ingest(
    thing: Any, *, rights: str | Mapping[str, Any], facts: Mapping[str, Any]
) -> tuple[str, JSON, JSON]:
    """Return asset id, body and sealed values of an INGEST."""
    rest, thing = dict(facts), named_file(thing)
    asset_id = rest.pop("asset_id", None) or new_event_id()
    if rest.get("c2pa") is True:
        rest["c2pa"] = import_module("sealtrail.c2pa").facts(thing, mime=rest.get("mime"))
    mime = rest.pop("mime", None)
    content = thing if isinstance(thing, Content) else content_of(thing, mime=mime)
    asset: JSON = {"type": rest.pop("type", kind_of(content.mime)), "mime": content.mime}
    digests = {"sha256": content.sha256}
    if content.size:
        asset["size"] = str(content.size)
    if content.pixel_sha256 is not None:
        digests["pixel_sha256"] = content.pixel_sha256
        asset |= {"width": content.width, "height": content.height}
    sealed: JSON = {}
    if rest.pop("personal", False):
        sealed = {f"asset.{name}": value for name, value in digests.items()}
    else:
        asset |= digests
    asset |= {
        name: rest.pop(name) for name in ("name", "source_url", "retrieved_at") if name in rest
    }
    return asset_id, {"asset": asset, "rights": _rights(rights), **rest}, sealed


def export(thing: Any, *, asset_id: str, to: str, facts: Mapping[str, Any]) -> tuple[JSON, JSON]:
    """Return body and sealed values of an EXPORT."""
    rest, thing = dict(facts), named_file(thing)
    recipient = rest.pop("recipient", None)
    if rest.pop("c2pa", False):
        found = import_module("sealtrail.c2pa").read(thing)
        rest["includes_provenance"] = found is not None
        rest["marking_verified"] = {"c2pa": found is not None and found.holds, "at": now_text()}
    destination: JSON = {"type": rest.pop("type", "DELIVERY"), "platform": to}
    destination |= {name: rest.pop(name) for name in ("recipient_type", "url") if name in rest}
    body = {"asset_id": asset_id, "asset_sha256": content_of(thing).sha256}
    sealed = {} if recipient is None else {"destination.recipient": recipient}
    return {**body, "destination": destination, **rest}, sealed


def review(decision: str, reason: str, facts: Mapping[str, Any]) -> tuple[str, JSON, JSON]:
    """Return type, body and sealed values of a decision by a person."""
    rest = dict(facts)
    sealed: JSON = {"notes": rest.pop("notes")} if "notes" in rest else {}
    if decision != "override":
        case: JSON = {"queue": rest.pop("queue", "default"), "state": "decided"}
        case |= {name: rest.pop(name) for name in ("priority", "deadline") if name in rest}
        body = {"review": case, "outcome": decision.upper(), "reason_code": reason, **rest}
        return "HUMAN_REVIEW", body, sealed
    said: JSON = {"reason_code": reason}
    said |= {name: rest.pop(name) for name in ("original", "new") if name in rest}
    if "diff" in rest:
        sealed["override.diff"] = rest.pop("diff")
    if "why" in rest:
        sealed["override.reason"] = rest.pop("why")
    outcome = rest.pop("outcome", said.get("new", "ALLOW")).upper()
    return "HUMAN_OVERRIDE", {"override": said, "outcome": outcome, **rest}, sealed


def arguments_of(function: Callable[..., Any]) -> Callable[..., Mapping[str, Any]]:
    """Return what names the arguments of a call of a function, its `**` ones, too."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("a function that yields is no call of a model: use trail.gen inside of it")
    signature = inspect.signature(function)
    loose = [one.name for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD]

    def arguments(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        return (named.pop(loose[0]) if loose else {}) | named

    return arguments


def said_by(arguments: Mapping[str, Any]) -> tuple[str | None, JSON, JSON]:
    """Return prompt, parameters and further sealed texts among a function's named arguments."""
    texts = {
        _TEXTS[name]: value
        for name, value in arguments.items()
        if name in _TEXTS and isinstance(value, str)
    }
    params = {
        name: value
        for name, value in arguments.items()
        if name in PARAMS and isinstance(value, (int, float, str)) and not isinstance(value, bool)
    }
    return texts.pop("prompt.user", None), params, texts


def name_outputs(call: Call, made: Any) -> None:
    """Name what a function returned: one output, or a list or tuple of them."""
    for one in made if isinstance(made, (list, tuple)) else [made]:
        call.output(one)


class Training:
    """A training run that is under way; `trail.train` makes it, `with` runs it.

    Leaving the block records TRAIN with what `produced` named, TRAIN_FAILED after an exception.
    """

    def __init__(self, trail: "Trail", plan: Mapping[str, Any]) -> None:
        rest = dict(plan)
        code = rest.pop("code", None)
        if code is not None:
            rest["code_digest"] = _digest_of(code)
        self._trail, self._plan = trail, rest
        self._files: list[JSON] = []
        self._result: JSON = {}
        self.id = new_event_id()
        self.started: Receipt | None = None
        self.receipt: Receipt | None = None

    def produced(self, path: str | Path, *, name: str | None = None) -> str:
        """Name one file of weights; returns its digest."""
        content = content_of(Path(path))
        named = {"path": name or Path(path).name, "sha256": content.sha256}
        self._files.append({**named, "size": str(content.size)})
        return content.sha256

    def fact(self, **members: Any) -> None:
        """Set further members of the result, such as `metrics_digest` or `manifest_digest`."""
        self._result.update(members)

    def __enter__(self) -> Self:
        plan = {"started_at": now_text(), **self._plan}
        self._plan = plan
        self.started = self._trail.record("TRAIN_STARTED", self.id, {"train": plan})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if problem is not None:
            failed, text = code_of(problem), words_of(problem)
            error = {"class": "exception", "code": failed, "stage": "training", "retryable": False}
            sealed = {"error.message": text} if text else {}
            body: JSON = {"error": error, "ended_at": now_text()}
            self.receipt = self._trail.record("TRAIN_FAILED", self.id, body, sealed=sealed)
            return
        result: JSON = {**self._plan, "ended_at": now_text(), **self._result}
        if self._files:
            result["weights"] = {"files": self._files}
        self.receipt = self._trail.record("TRAIN", self.id, {"train": result})


def _rights(rights: str | Mapping[str, Any]) -> JSON:
    if not isinstance(rights, str):
        return dict(rights)
    if rights.startswith(_LICENCE):
        return {"basis": "LICENSED", "license": rights.partition(":")[2]}
    return {"basis": rights.upper()}


def _digest_of(code: str | Path) -> str:
    if isinstance(code, str) and is_digest(code):
        return code
    return content_of(Path(code)).sha256
