# SPDX-License-Identifier: Apache-2.0
"""What a request in Google's own format asks for: its words, what is attached, its parameters."""

from collections.abc import Iterator
from typing import Any

from sealtrail.content import digest_text
from sealtrail.providers.bodies import unbase64
from sealtrail.providers.exchange import (
    JSON,
    Asked,
    count,
    decimal,
    given,
    text_value,
    without_none,
)


def asked_content(model: JSON, request: JSON, *, stream: bool) -> Asked:
    sealed: JSON = {}
    system = "\n".join(
        part["text"]
        for name in ("systemInstruction", "system_instruction")
        for part in parts_of(request.get(name))
        if isinstance(part.get("text"), str)
    )
    if system:
        sealed["prompt.system"] = text_value(system)
    said, spoken, user, pictures = [system] if system else [], [], None, []
    contents = request.get("contents")
    for content in contents if isinstance(contents, list) else ():
        role = content.get("role", "user") if isinstance(content, dict) else "user"
        for part in parts_of(content):
            if isinstance(part.get("text"), str):
                said.append(part["text"])
                spoken.append(f"{role}: {part['text']}")
                user = part["text"] if role == "user" else user
            pictures += _inline(part)
    if user is not None:
        sealed["prompt.user"] = text_value(user)
    if len(spoken) > 1:
        sealed["prompt.rendered"] = text_value(spoken)
    inputs = given((("source", digest_text(data)) for data in pictures), sealed)
    config = request.get("generationConfig", request.get("generation_config"))
    return Asked(
        model=model,
        operation="chat",
        input_type="text+image" if inputs else "text",
        params=_params(config if isinstance(config, dict) else {}),
        inputs=inputs,
        sealed=sealed,
        said=said,
        stream=stream,
        form="content",
    )


def asked_picture(model: JSON, request: JSON) -> Asked:
    instances = request.get("instances")
    instances = instances if isinstance(instances, list) else []
    instances = [one for one in instances if isinstance(one, dict)]
    prompts = [one["prompt"] for one in instances if isinstance(one.get("prompt"), str)]
    parameters = request.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    amount, seed = count(parameters.get("sampleCount")), count(parameters.get("seed"))
    params = {"n": amount or None, "seed": None if seed is None else str(seed)}
    sealed: JSON = {}
    if prompts:
        sealed["prompt.user"] = text_value(prompts[0])
    if len(prompts) > 1:
        sealed["prompt.rendered"] = text_value(prompts)
    negative = parameters.get("negativePrompt")
    if isinstance(negative, str) and negative:
        sealed["prompt.negative"] = text_value(negative)
    inputs = given((one for instance in instances for one in _shown(instance)), sealed)
    return Asked(
        model=model,
        operation="edit" if inputs else "generate",
        input_type=("text+image" if prompts else "image") if inputs else "text",
        params=without_none(params),
        inputs=inputs,
        sealed=sealed,
        said=[*prompts, *([negative] if isinstance(negative, str) else [])],
        form="predict",
    )


def _shown(instance: JSON) -> Iterator[tuple[str, str]]:
    """Yield role and digest of each picture that is to be changed, or to be followed."""
    references = instance.get("referenceImages")
    held = [("source", instance.get("image")), ("mask", instance.get("mask"))]
    for one in references if isinstance(references, list) else ():
        if isinstance(one, dict):
            masked = str(one.get("referenceType")).endswith("MASK")
            held.append(("mask" if masked else "source", one.get("referenceImage")))
    for kind, holder in held:
        inner = holder.get("image", holder) if isinstance(holder, dict) else None
        data = unbase64(inner.get("bytesBase64Encoded")) if isinstance(inner, dict) else None
        if data is not None:
            yield kind, digest_text(data)


def _inline(part: JSON) -> list[bytes]:
    """Return what a part holds: itself, and in what a function gave."""
    found = []
    for name in ("inlineData", "inline_data"):
        inline = part.get(name)
        data = unbase64(inline.get("data")) if isinstance(inline, dict) else None
        found += [] if data is None else [data]
    for name in ("functionResponse", "function_response"):
        for inner in parts_of(part.get(name)):
            found += _inline({name: inner.get(name) for name in ("inlineData", "inline_data")})
    return found


def _params(config: JSON) -> JSON:
    def told(name: str) -> Any:
        """Both spellings are Google's own."""
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        return config.get(name, config.get(snake))

    seed = config.get("seed")
    return without_none(
        {
            "temperature": decimal(config.get("temperature")),
            "top_p": decimal(told("topP")),
            "max_tokens": count(told("maxOutputTokens")),
            "n": count(told("candidateCount")) or None,
            "seed": str(seed % 2**64) if type(seed) is int else None,
        }
    )


def parts_of(content: Any) -> Iterator[JSON]:
    parts = content.get("parts") if isinstance(content, dict) else None
    yield from (one for one in (parts if isinstance(parts, list) else ()) if isinstance(one, dict))
