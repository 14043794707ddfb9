# SPDX-License-Identifier: Apache-2.0
"""What a request in OpenAI's format asks for: its words, what is attached, its parameters."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sealtrail.content import digest_text
from sealtrail.providers.bodies import data_url, unbase64
from sealtrail.providers.exchange import JSON, count, decimal, text_value, without_none

#: Members that hold pictures: OpenAI's and xAI's, then NanoGPT's.
_SOURCES: Final = ("images", "image", "imageDataUrl", "imageDataUrls")
_MASKS: Final = ("mask", "maskDataUrl")

#: Members of a part that hold an attachment: a picture, a file, a sound.
_ATTACHED: Final = ("image_url", "file", "file_data", "input_audio", "drawn")
_INSIDE: Final = ("url", "image_url", "file_data", "data")

#: Members of an item of a conversation that hold words, or parts with words.
_SPOKEN: Final = ("content", "output", "arguments")

_SMALL: Final = re.compile(r"[0-9]{1,7}")
_SEED: Final = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation that goes to a model. inputs: role and digest of all that is attached."""

    sealed: JSON = field(repr=False)
    said: list[str] = field(repr=False)
    inputs: list[tuple[str, str]]
    params: JSON


def role(name: str) -> str:
    return "mask" if name.startswith("mask") else "source"


def is_picture(name: str) -> bool:
    """Whether a file may stand in a field of a form: not where the prompt is read, or the model."""
    return name.partition("[")[0] not in {"prompt", "model", "n", "size", "stream"}


def pictures(request: JSON) -> Iterator[tuple[str, str]]:
    """Yield role and digest of each picture that a request in JSON holds."""
    for names, kind in ((_SOURCES, "source"), (_MASKS, "mask")):
        for name in names:
            value = request.get(name)
            for one in value if isinstance(value, list) else [value]:
                if (data := _attached(one)) is not None:
                    yield kind, digest_text(data)


def image_params(request: JSON) -> JSON:
    width, _, height = str(request.get("size", "")).partition("x")
    sized = _SMALL.fullmatch(width) and _SMALL.fullmatch(height)
    amount, seed = str(request.get("n", "")), str(request.get("seed", ""))
    return without_none(
        {
            "width": (int(width) or None) if sized else None,
            "height": (int(height) or None) if sized else None,
            "n": int(amount) if _SMALL.fullmatch(amount) and 1 <= int(amount) <= 64 else None,
            "seed": str(int(seed)) if _SEED.fullmatch(seed) else None,
            "steps": count(request.get("num_inference_steps")),
            "cfg_scale": decimal(request.get("guidance_scale")),
            "strength": decimal(request.get("strength")),
        }
    )


def talk_of_chat(request: JSON) -> Talk:
    return _talk(_objects(request.get("messages")), _params(request, "max_completion_tokens"))


def talk_of_response(request: JSON) -> Talk:
    asked = request.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else _objects(asked)
    if isinstance(request.get("instructions"), str):
        items = [{"role": "system", "content": request["instructions"]}, *items]
    return _talk(items, _params(request, "max_output_tokens"))


def _params(request: JSON, most: str) -> JSON:
    seed = request.get("seed")
    return without_none(
        {
            "temperature": decimal(request.get("temperature")),
            "top_p": decimal(request.get("top_p")),
            "max_tokens": count(request.get(most, request.get("max_tokens"))),
            "n": count(request.get("n")) or None,
            "seed": str(seed % 2**64) if type(seed) is int else None,
        }
    )


def _talk(messages: list[JSON], params: JSON) -> Talk:
    """Return what a conversation says and holds.

    The whole conversation is sealed as it was sent, but for what is attached, which has digests.
    """
    inputs: list[tuple[str, str]] = []
    spoken: list[tuple[str, str]] = []
    for message in messages:
        who = str(message.get("role") or message.get("type"))
        for part in _parts(message):
            if isinstance(part.get("text"), str):
                spoken.append((who, part["text"]))
            held = [_attached(part.get(name)) for name in _ATTACHED]
            inputs += [("source", digest_text(data)) for data in held if data is not None]
    system = "\n".join(text for who, text in spoken if who in {"system", "developer"})
    user = next((text for who, text in reversed(spoken) if who == "user"), None)
    sealed: JSON = {}
    if user is not None:
        sealed["prompt.user"] = text_value(user)
    if system:
        sealed["prompt.system"] = text_value(system)
    if len(spoken) > 1:
        sealed["prompt.rendered"] = text_value([f"{who}: {text}" for who, text in spoken])
    return Talk(sealed=sealed, said=[text for _, text in spoken], inputs=inputs, params=params)


def _parts(message: JSON) -> Iterator[JSON]:
    """Yield the parts of an item: of a message, of what a tool gave, or the item itself."""
    for name in _SPOKEN:
        value = message.get(name)
        if isinstance(value, str):
            yield {"text": value}
        yield from _objects(value)
    drawn = message.get("result") if message.get("type") == "image_generation_call" else None
    yield {**{name: message.get(name) for name in ("text", *_ATTACHED)}, "drawn": drawn}
    for call in _objects(message.get("tool_calls")):
        asked = call.get("function")
        yield {"text": asked.get("arguments") if isinstance(asked, dict) else None}


def _attached(value: Any) -> bytes | None:
    """Return the bytes that a request holds; None for an address, or an id of a file."""
    if isinstance(value, dict):
        return next((data for name in _INSIDE if (data := _attached(value.get(name)))), None)
    found = data_url(value)
    return unbase64(value) if found is None else found[0]


def _objects(value: Any) -> list[JSON]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
