# SPDX-License-Identifier: Apache-2.0
"""ComfyUI: a graph of nodes is queued now, and its pictures are fetched later, under other paths.

    POST /prompt            the attempt; answered with the prompt's id, before anything has run
    GET /history/{id}       the outcome, and which files came out
    GET /view?filename=…    one of them

So its outcome can be recorded only by what remembers its prompts: the gateway does, and so do our
own nodes (`sealtrail.comfyui`). Lists of everybody's prompts, and the web socket with its previews,
would release pictures unseen, and are refused.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from sealtrail.providers.bodies import json_of, read_json
from sealtrail.providers.exchange import (
    INPUTS_MAX,
    JSON,
    Asked,
    Headers,
    Kind,
    StreamReader,
    Told,
    Unspeakable,
    count,
    decimal,
    failed,
    made,
    output,
    plain_code,
    plain_line,
    text_value,
)

#: Seconds for which an attempt may stay open: prompts wait in a queue.
DEADLINE_S: Final = 86_400

#: Members of a node's inputs that say which weights it loads.
_MODELS: Final = ("ckpt_name", "unet_name", "model_name", "diffusion_model")
_LOADERS: Final = ("LoadImage", "LoadImageMask", "LoadImageOutput")
_UPLOADS_MAX: Final = 4_096
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")

#: `queue` is none of them: it shows everybody's prompts.
_LOOKS: Final = frozenset(
    {"prompt", "object_info", "system_stats", "embeddings", "models", "features"}
)  # fmt: skip
_POSTS: Final = frozenset({"interrupt", "queue", "free", "upload/image", "upload/mask"})


class ComfyUi:
    """Reads what speaks ComfyUI's format."""

    def __init__(self, name: str = "comfyui") -> None:
        self.name = name
        self._uploads: OrderedDict[str, str] = OrderedDict()

    def uploaded(self, name: str, digest: str) -> None:
        """Remember the digest of an input under the name by which graphs load it."""
        self._uploads[name] = digest
        self._uploads.move_to_end(name)
        while len(self._uploads) > _UPLOADS_MAX:
            self._uploads.popitem(last=False)

    def kind(self, method: str, path: str) -> Kind:
        name = place(path)
        if method == "POST":
            if name == "prompt":
                return "call"
            return "harmless" if name in _POSTS else "unknown"
        parts = name.split("/")
        if method != "GET" or not {"", ".", ".."}.isdisjoint(parts):
            return "unknown"
        if name == "view" or prompt_in(path) is not None:
            return "call"  # Of a prompt that was recorded, or nothing.
        return "harmless" if parts[0] in _LOOKS else "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        del headers
        if place(path) != "prompt":
            raise Unspeakable("its prompt is not known here")
        graph = read_json(body).get("prompt")
        if not isinstance(graph, dict) or not graph:
            raise Unspeakable("there is no graph of nodes in the request")
        return asked_of(graph, self.name, self._uploads)

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        """Return what came of queueing a prompt; of its pictures nothing is known yet."""
        del asked, headers
        if status < 400:
            return made([output(body, mime="application/json")], facts={})
        error = json_of(body).get("error")
        kind = error.get("type") if isinstance(error, dict) else None
        message = error.get("message") if isinstance(error, dict) else None
        code = plain_code(kind)
        return failed(status, code, message if isinstance(message, str) else "", facts={})

    def stream(self, asked: Asked) -> StreamReader:
        del asked
        raise Unspeakable("this format has no streams")

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        del status
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        error = {"type": code, "message": message, "details": "", "extra_info": {}}
        return headers, json.dumps({"error": error, "node_errors": {}}).encode()


def place(path: str) -> str:
    """Return a path without the prefix under which the same server answers as well."""
    return path.strip("/").removeprefix("api/")


def prompt_in(path: str) -> str | None:
    """Return the prompt of which a path asks for the history."""
    name, _, prompt_id = place(path).partition("/")
    return prompt_id if name == "history" and _ID.fullmatch(prompt_id) else None


def asked_of(
    graph: Mapping[str, Any], provider: str, uploads: Mapping[str, str] | None = None
) -> Asked:
    """Return what a graph asks for; the graph itself and its texts are sealed.

    uploads: digests of files by the names under which nodes load them. Raises Unspeakable.
    """
    nodes = [node for node in graph.values() if isinstance(node, dict)]
    inputs = [_inputs(node) for node in nodes]
    models = sorted({one for node in inputs for name in _MODELS if (one := _text(node.get(name)))})
    loras = {_text(node.get("lora_name")) for node in inputs}
    named = [*models, *sorted(one for one in loras if one)]
    sampler = next((node for node in inputs if "sampler_name" in node or "noise_seed" in node), {})
    positive = _texts(graph, sampler.get("positive"))
    negative = _texts(graph, sampler.get("negative"))
    sealed: JSON = {"prompt.rendered": text_value(dict(graph))}
    if positive:
        sealed["prompt.user"] = text_value("\n".join(positive))
    if negative:
        sealed["prompt.negative"] = text_value("\n".join(negative))
    given = [node for node in nodes if node.get("class_type") in _LOADERS]
    if len(given) > INPUTS_MAX:
        raise Unspeakable(f"a call is given at most {INPUTS_MAX} inputs")
    kinds = [_kind(node) for node in given]
    for at, node in enumerate(given):
        digest = (uploads or {}).get(_text(_inputs(node).get("image")))
        if digest is not None:
            sealed[f"inputs[{at}].sha256"] = digest
    return Asked(
        model={
            "provider": provider,
            "name": plain_line(" + ".join(named)) or "workflow",
            "version": "local",
        },
        operation="inpaint" if "mask" in kinds else "edit" if given else "generate",
        input_type="text" if not given else "text+image" if positive else "image",
        params=_params(sampler, inputs),
        inputs=[{"type": "image", "role": kind} for kind in kinds],
        sealed=sealed,
        said=[text for node in inputs for text in node.values() if isinstance(text, str)],
        facts={"deadline_s": DEADLINE_S},
    )


def outcome(entry: Mapping[str, Any]) -> str | None:
    """Return `success` or `error` of an entry of the history; None while it has not ended."""
    status = entry.get("status")
    if not isinstance(status, Mapping):
        return "success" if entry.get("outputs") else None
    if status.get("status_str") == "error":
        return "error"
    return "success" if status.get("completed") is True else None


def error_of(entry: Mapping[str, Any]) -> Told:
    """Return the GEN_ERROR of a prompt that ran and failed."""
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, Mapping) else None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, list) or len(message) != 2 or not isinstance(message[1], dict):
            continue
        name, told = message
        if name == "execution_interrupted":
            return failed(499, "interrupted", "", facts={}, retryable=False)
        if name == "execution_error":
            code, text = plain_code(told.get("exception_type")), told.get("exception_message")
            return failed(500, code, text if isinstance(text, str) else "", facts={})
    return failed(500, "execution-error", "", facts={})


def files_of(entry: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return filename, subfolder and type of all that came out of a prompt, each once."""
    found: dict[tuple[str, str, str], None] = {}
    outputs = entry.get("outputs")
    for node in outputs.values() if isinstance(outputs, dict) else ():
        for listed in node.values() if isinstance(node, dict) else ():
            for one in listed if isinstance(listed, list) else ():
                if isinstance(one, dict) and "filename" in one:
                    key = (one["filename"], one.get("subfolder", ""), one.get("type", "output"))
                    found[str(key[0]), str(key[1]), str(key[2])] = None
    return list(found)


def others_of(entry: Mapping[str, Any]) -> bytes | None:
    """Return what came out besides files, such as texts, as JSON; None if nothing did."""
    outputs = entry.get("outputs")
    told = {
        node: {name: value for name, value in members.items() if not _is_files(value)}
        for node, members in (outputs.items() if isinstance(outputs, dict) else ())
        if isinstance(members, dict)
    }
    told = {node: members for node, members in told.items() if members}
    return json.dumps(told, sort_keys=True).encode() if told else None


def _is_files(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return all(isinstance(one, dict) and "filename" in one for one in value) or value == [False]


def _inputs(node: Mapping[str, Any]) -> JSON:
    found = node.get("inputs")
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _kind(node: Mapping[str, Any]) -> str:
    return "mask" if node.get("class_type") == "LoadImageMask" else "source"


def _texts(graph: Mapping[str, Any], link: Any) -> list[str]:
    """Return the texts from which a conditioning comes, following links backwards, each once."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [link]
    while waiting:
        at = waiting.pop(0)
        name = str(at[0]) if isinstance(at, list) and at else ""
        node = graph.get(name)
        if name in seen or not isinstance(node, dict):
            continue
        seen.add(name)
        for kind, value in _inputs(node).items():
            if isinstance(value, str) and kind.startswith(("text", "prompt", "clip_l", "t5xxl")):
                found[value] = None
            elif isinstance(value, list):
                waiting.append(value)
    return list(found)


def _params(sampler: Mapping[str, Any], inputs: list[JSON]) -> JSON:
    seed = sampler.get("seed", sampler.get("noise_seed"))
    size = next((one for one in inputs if "width" in one and "batch_size" in one), {})
    found: JSON = {
        "seed": str(seed) if type(seed) is int and 0 <= seed < 2**64 else None,
        "steps": count(sampler.get("steps")),
        "cfg_scale": decimal(sampler.get("cfg")),
        "strength": decimal(sampler.get("denoise")),
        "sampler": plain_code(sampler.get("sampler_name")) or None,
        "scheduler": plain_code(sampler.get("scheduler")) or None,
        "width": count(size.get("width")) or None,
        "height": count(size.get("height")) or None,
        "n": number if 1 <= (number := count(size.get("batch_size")) or 0) <= 64 else None,
    }
    return {name: value for name, value in found.items() if value is not None}
