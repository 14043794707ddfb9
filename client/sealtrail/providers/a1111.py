# SPDX-License-Identifier: Apache-2.0
"""AUTOMATIC1111's web interface for Stable Diffusion: pictures from texts and pictures.

Its own callbacks swallow exceptions, so only what stands in front of it can fail closed.
A request that changes settings could change the model unseen, and is refused.
"""

import json
from typing import Any, BinaryIO, Final

from sealtrail.content import digest_text
from sealtrail.providers.bodies import data_url, json_of, read_json, unbase64
from sealtrail.providers.exchange import (
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
    given,
    made,
    output,
    plain_code,
    plain_line,
    text_value,
    without_none,
)

_OPERATIONS: Final = {
    "txt2img": "generate",
    "img2img": "edit",
    "extra-single-image": "upscale",
    "interrogate": "caption",
}
_HARMLESS_POSTS: Final = frozenset({"interrupt", "skip", "png-info"})

#: Members in which somebody writes what is wanted.
_WRITTEN: Final = ("prompt", "negative_prompt")

#: What may be looked at. `progress` is not among it: it shows the picture while it is made.
_LOOKS: Final = frozenset(
    {"cmd-flags", "embeddings", "extensions", "face-restorers", "hypernetworks",
     "latent-upscale-modes", "loras", "memory", "options", "prompt-styles", "realesrgan-models",
     "samplers", "schedulers", "script-info", "scripts", "sd-models", "sd-modules", "sd-vae",
     "upscalers"}
)  # fmt: skip


class A1111:
    """Reads what speaks AUTOMATIC1111's format."""

    def __init__(self, name: str = "a1111") -> None:
        self.name = name

    def kind(self, method: str, path: str) -> Kind:
        name = _name(path)
        if method == "POST":
            if name in _OPERATIONS:
                return "call"
            return "harmless" if name in _HARMLESS_POSTS else "unknown"
        return "harmless" if method in {"GET", "HEAD"} and name in _LOOKS else "unknown"

    def asked(self, path: str, headers: Headers, body: BinaryIO) -> Asked:
        del headers
        request = read_json(body)
        sealed: JSON = {}
        for name, member in (("prompt", "prompt.user"), ("negative_prompt", "prompt.negative")):
            if isinstance(request.get(name), str) and request[name]:
                sealed[member] = text_value(request[name])
        shown = [("source", one) for one in _listed(request.get("init_images"))]
        shown += [("source", request["image"])] if "image" in request else []
        shown += [("mask", request["mask"])] if request.get("mask") else []
        inputs = given(((role, _digest(text)) for role, text in shown), sealed)
        override = request.get("override_settings")
        chosen = override.get("sd_model_checkpoint") if isinstance(override, dict) else None
        name = plain_line(chosen) or "as-configured"
        return Asked(
            model={"provider": self.name, "name": name, "version": "local"},
            operation=_OPERATIONS[_name(path)],
            input_type="text"
            if not inputs
            else "text+image"
            if "prompt.user" in sealed
            else "image",
            params=_params(request),
            inputs=inputs,
            sealed=sealed,
            said=[request[n] for n in _WRITTEN if isinstance(request.get(n), str)],
        )

    def told(self, asked: Asked, status: int, headers: Headers, body: bytes) -> Told:
        del headers
        answer = json_of(body)
        facts = _facts(answer)
        if status >= 400:
            said = answer.get("error") or answer.get("detail") or ""
            message = said if isinstance(said, str) else json.dumps(said)
            return failed(status, plain_code(answer.get("error")), message, facts=facts)
        shown = [*_listed(answer.get("images")), *_listed(answer.get("image"))]
        outputs = [output(data) for text in shown if (data := _picture(text)) is not None]
        if isinstance(answer.get("caption"), str):
            outputs.append(output(answer["caption"].encode(), mime="text/plain"))
        elif asked.operation != "caption":
            facts.setdefault("usage", {})["images"] = len(outputs)
        return made([*outputs, output(body, mime="application/json")], facts=facts)

    def stream(self, asked: Asked) -> StreamReader:
        del asked
        raise Unspeakable("this format has no streams")

    def refusal(self, code: str, message: str, status: int) -> tuple[JSON, bytes]:
        del status
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        said = {"error": code, "detail": message, "body": "", "errors": message}
        return headers, json.dumps(said).encode()


def _name(path: str) -> str:
    return path.strip("/").removeprefix("sdapi/v1/") if "sdapi/v1/" in path else ""


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _digest(text: Any) -> str:
    data = _picture(text)
    if data is None:
        raise Unspeakable("a picture of the request is not Base64")
    return digest_text(data)


def _picture(text: Any) -> bytes | None:
    found = data_url(text)
    return unbase64(text) if found is None else found[0]


def _params(request: JSON) -> JSON:
    seed = request.get("seed")
    each, rounds = count(request.get("batch_size")) or 1, count(request.get("n_iter")) or 1
    return without_none(
        {
            "seed": str(seed) if type(seed) is int and 0 <= seed < 2**64 else None,  # -1: any.
            "steps": count(request.get("steps")),
            "width": count(request.get("width")) or None,
            "height": count(request.get("height")) or None,
            "cfg_scale": decimal(request.get("cfg_scale")),
            "strength": decimal(request.get("denoising_strength")),
            "sampler": plain_code(request.get("sampler_name")) or None,
            "scheduler": plain_code(request.get("scheduler")) or None,
            "n": each * rounds if 1 <= each * rounds <= 64 else None,
        }
    )


def _facts(answer: JSON) -> JSON:
    """Return which checkpoint it says that it used; `info` is JSON in a text."""
    info = answer.get("info")
    told = json_of(info.encode(errors="replace")) if isinstance(info, str) else {}
    provider = without_none(
        {
            "model_returned": plain_line(told.get("sd_model_name")),
            "system_fingerprint": plain_line(told.get("sd_model_hash")),
        }
    )
    return {"provider": provider} if provider else {}
