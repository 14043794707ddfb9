# SPDX-License-Identifier: Apache-2.0
"""ComfyUI: a handler that refuses prompts which are not on record, and a node that saves pictures.

    custom_nodes/sealtrail/__init__.py:
        from sealtrail.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, install
        install()

    SEALTRAIL_COMFYUI_PERSON     whose installation this is

ComfyUI swallows what a handler raises and queues the prompt all the same; it answers with 400 when
a handler hands back no prompt, so that is what ours does. Pictures leave by `Audited Save Image`
only: a prompt with another node that puts something out is refused. Each such node is an attempt;
its outcome is on record before its files are written, and if that fails the node raises.

Previews of a sampler go over the web socket before that (`--preview-method none` turns them off),
and what another custom node does by itself nobody sees. The gateway has neither gap.
"""

import io
import json
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sealtrail.acting import acting
from sealtrail.calls import Call
from sealtrail.content import content_of, digest_text
from sealtrail.errors import AuditUnavailable, NotRecordable
from sealtrail.providers.comfyui import asked_of
from sealtrail.verify import canonical

if TYPE_CHECKING:
    from sealtrail.trail import Trail

log = logging.getLogger("sealtrail.comfyui")

JSON = dict[str, Any]

NODE: Final = "SealtrailSaveImage"
PERSON: Final = "SEALTRAIL_COMFYUI_PERSON"

#: Pictures that are named each by itself; all of a larger batch are listed in one output more.
NAMED_MAX: Final = 40

#: Attempts whose node has not run yet.
_OPEN_MAX: Final = 4_096


class Prompts:
    """Records prompts before they are queued. Safe for the server's and the worker's thread.

    nodes: the classes of nodes by name, as ComfyUI has them. person_of: who asks, from a request.
    """

    def __init__(
        self,
        trail_of: Callable[[], "Trail"],
        nodes: Callable[[], Mapping[str, Any]],
        person_of: Callable[[Mapping[str, Any]], str],
    ) -> None:
        self._trail_of, self._nodes, self._person_of = trail_of, nodes, person_of
        self._open: OrderedDict[str, tuple[str, Call]] = OrderedDict()

    def __call__(self, request: JSON) -> JSON:
        """Return the request with what our node needs, or without its prompt."""
        if "prompt" not in request:
            return request
        try:
            return self._recorded(request)
        except Exception as problem:  # noqa: BLE001 - ComfyUI would go on; a refusal is to be seen
            log.error("a prompt was refused: %s", type(problem).__name__)  # noqa: TRY400
            return {name: value for name, value in request.items() if name != "prompt"}

    def finish(self, call_id: str, pictures: list[bytes]) -> None:
        """Put the outcome of one node on record. Raises; then nothing may be written."""
        person, call = self._taken(call_id)
        with self._trail_of().acting_for(person):
            try:
                named = pictures if len(pictures) <= NAMED_MAX else pictures[: NAMED_MAX - 1]
                for data in named:
                    call.output(data, mime="image/png", **_pixels(data))
                if named is not pictures:
                    listed = canonical.encode([digest_text(data) for data in pictures])
                    call.output(listed, mime="application/json")
            except Exception as problem:
                call.finish(problem)
                raise
            call.usage(images=len(pictures))
            call.finish()

    def failed(self, call_id: str, problem: Exception) -> None:
        """Put on record that a node failed."""
        person, call = self._taken(call_id)
        with self._trail_of().acting_for(person):
            call.finish(problem)

    def _taken(self, call_id: str) -> tuple[str, Call]:
        found = self._open.pop(call_id, None)
        if found is None:
            raise AuditUnavailable(
                "No attempt is open for this node; nothing is saved.", attempts=0
            )
        return found

    def _recorded(self, request: JSON) -> JSON:
        graph = request["prompt"]
        ours = self._ours(graph)
        person = self._person_of(request)
        trail = self._trail_of()
        asked = asked_of(graph, "comfyui")
        told: JSON = {}
        with trail.acting_for(person):
            who = acting()
            consents = () if who is None else who.consents
            try:
                for node in ours:
                    call = Call(trail, asked.body(consents), dict(asked.sealed))
                    call.start()
                    self._open[call.id] = (person, call)
                    event_id = "" if call.attempt is None else call.attempt.event_id
                    told[node] = {"call": call.id, "event_id": event_id}
            except Exception as problem:
                for one in told.values():
                    self.failed(one["call"], problem)
                raise
        while len(self._open) > _OPEN_MAX:
            self._open.popitem(last=False)
        extra = dict(request.get("extra_data") or {})
        shown = dict(extra.get("extra_pnginfo") or {}) | {"sealtrail": told}
        return {**request, "extra_data": {**extra, "extra_pnginfo": shown}}

    def _ours(self, graph: Any) -> list[str]:
        """Return the ids of our nodes. Raises NotRecordable if something else puts out, too."""
        known, ours = self._nodes(), []
        if not isinstance(graph, dict):
            raise NotRecordable("This is no graph of nodes.")
        for name, node in graph.items():
            kind = node.get("class_type") if isinstance(node, dict) else None
            found = known.get(kind) if isinstance(kind, str) else None
            if kind == NODE:
                ours.append(str(name))
            elif found is None or _puts_out(found):
                raise NotRecordable("A node puts something out that nobody records.")
        if not ours:
            raise NotRecordable("There is no Audited Save Image in the graph.")
        return ours


class AuditedSaveImage:
    """The node: saves pictures as ComfyUI's own one does, once they are on record."""

    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    FUNCTION = "save"
    OUTPUT_NODE = True
    CATEGORY = "image"
    DESCRIPTION = "Saves pictures once they are on record in the audit ledger."
    prompts: ClassVar[Prompts | None] = None  #: Set by `install`.

    @classmethod
    def INPUT_TYPES(cls) -> JSON:  # noqa: N802 - the name that ComfyUI asks for
        return {
            "required": {
                "images": ("IMAGE",),
                "filename_prefix": ("STRING", {"default": "ComfyUI"}),
            },
            "hidden": {
                "prompt": "PROMPT",
                "extra_pnginfo": "EXTRA_PNGINFO",
                "unique_id": "UNIQUE_ID",
            },
        }

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802 - the name that ComfyUI asks for
        return float("nan")  # Never the same: each prompt has an outcome of its own.

    def save(
        self,
        images: Any,
        filename_prefix: str = "ComfyUI",
        prompt: Any = None,
        extra_pnginfo: Any = None,
        unique_id: Any = None,
    ) -> JSON:
        """Record the pictures and write them. Raises AuditUnavailable; then no file is there."""
        told = (extra_pnginfo or {}).get("sealtrail", {}).get(str(unique_id))
        if self.prompts is None or told is None:
            raise AuditUnavailable("This prompt is not on record; nothing is saved.", attempts=0)
        try:
            made = [_png(one, prompt, extra_pnginfo, told["event_id"]) for one in images]
        except Exception as problem:
            self.prompts.failed(told["call"], problem)
            raise
        self.prompts.finish(told["call"], made)
        return {"ui": {"images": _written(made, filename_prefix, images)}}


NODE_CLASS_MAPPINGS: Final = {NODE: AuditedSaveImage}
NODE_DISPLAY_NAME_MAPPINGS: Final = {NODE: "Audited Save Image"}


def install(
    trail_of: "Callable[[], Trail] | None" = None,
    person_of: Callable[[Mapping[str, Any]], str] | None = None,
) -> Prompts:
    """Have ComfyUI's server ask our handler before it queues a prompt.

    A Trail is made with the first prompt: settings that are wrong refuse prompts then, while a
    custom node that cannot be loaded would be left out and all prompts let by.
    """
    server = import_module("server").PromptServer.instance
    prompts = Prompts(
        trail_of or _own_trail,
        lambda: sys.modules["nodes"].NODE_CLASS_MAPPINGS,
        person_of or _owner,
    )
    AuditedSaveImage.prompts = prompts
    server.add_on_prompt_handler(prompts)
    return prompts


@cache
def _own_trail() -> "Trail":
    from sealtrail.trail import Trail  # noqa: PLC0415 - it reads settings; see `install`

    return Trail(application="comfyui")


def _owner(request: Mapping[str, Any]) -> str:
    """Return whose installation this is; a request names nobody who could be believed."""
    del request
    person = os.environ.get(PERSON)
    if not person:
        raise NotRecordable(f"Set {PERSON} to the person who uses this installation.")
    return person


def _puts_out(kind: Any) -> bool:
    return bool(getattr(kind, "OUTPUT_NODE", False)) or bool(
        getattr(kind, "HAS_INTERMEDIATE_OUTPUT", False)
    )


def _png(picture: Any, prompt: Any, extra: Any, event_id: str) -> bytes:
    """Return a picture as PNG with its workflow, as ComfyUI's own node writes it, and its event."""
    numpy, image = import_module("numpy"), import_module("PIL.Image")
    info = import_module("PIL.PngImagePlugin").PngInfo()
    if prompt is not None:
        info.add_text("prompt", json.dumps(prompt))
    for name, value in (extra or {}).items():
        if name != "sealtrail":
            info.add_text(name, json.dumps(value))
    info.add_text("sealtrail", json.dumps({"event_id": event_id}))
    plain = picture.cpu().numpy() if hasattr(picture, "cpu") else picture
    pixels = numpy.clip(255.0 * plain, 0, 255).astype(numpy.uint8)
    out = io.BytesIO()
    image.fromarray(pixels).save(out, format="PNG", pnginfo=info, compress_level=4)
    return out.getvalue()


def _pixels(data: bytes) -> JSON:
    with import_module("PIL.Image").open(io.BytesIO(data)) as picture:
        seen = content_of(picture)
    return {"pixel_sha256": seen.pixel_sha256, "w": seen.width, "h": seen.height}


def _written(made: list[bytes], prefix: str, images: Any) -> list[JSON]:
    """Write files where ComfyUI keeps its outputs; returns what its interface shows."""
    paths = import_module("folder_paths")
    height, width = images[0].shape[0], images[0].shape[1]
    folder, name, counter, subfolder, _ = paths.get_save_image_path(
        prefix, paths.get_output_directory(), width, height
    )
    shown = []
    for at, data in enumerate(made):
        file = f"{name.replace('%batch_num%', str(at))}_{counter + at:05}_.png"
        (Path(folder) / file).write_bytes(data)
        shown.append({"filename": file, "subfolder": subfolder, "type": "output"})
    return shown
