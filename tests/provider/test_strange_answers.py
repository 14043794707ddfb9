# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and answers in which anything may be anything: all are read, and the ledger takes them.

An exception in a reader, or a body that the ledger refuses, would leave a call that was made and
paid for without its outcome.
"""

import io
import json
import random

import pytest
from provider_server import (
    Provider,
    a1111_picture,
    anthropic_message,
    google_content,
    google_stream,
    openai_chat,
    openai_image,
    openai_response,
)

from ledger import catalog
from sealtrail.providers.exchange import Unspeakable
from sealtrail.providers.registry import reader
from sealtrail.verify import canonical

pytestmark = pytest.mark.once

PICTURE = "data:image/png;base64,AAAA"
STRANGE = [
    None, True, 0, -1, 2**70, 1.5, float("inf"), "", "x\u202e\ud800", PICTURE, "a" * 300, [], {},
    [None], [[]], {"a": None}, "NaN", {"url": 5}, [{"type": "text"}], {"text": []}, "1e400",
    "\u0663", "a\n\ud800", 1.2345678901234567e-05,
    -0.0, 1e300, 1e-300, "\n", {"type": {}}, [{"type": []}],
]  # fmt: skip
CHAT = {
    "model": "m", "temperature": 0.5, "top_p": 1, "max_tokens": 4, "seed": 3, "n": 1,
    "messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": [
            {"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": PICTURE}},
        ]},
    ],
}  # fmt: skip
RESPONSE = {
    "model": "m", "tools": [{}], "instructions": "k", "max_output_tokens": 4,
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
}  # fmt: skip
MESSAGE = {
    "model": "m", "max_tokens": 3, "system": [{"type": "text", "text": "s"}], "temperature": 1,
    "top_p": 0.5,
    "messages": [{"role": "user", "content": [
        {"type": "text", "text": "x"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    ]}],
}  # fmt: skip
CONTENT = {
    "contents": [{"role": "user", "parts": [
        {"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]}],
    "systemInstruction": {"parts": [{"text": "s"}]},
    "generationConfig": {"temperature": 0.4, "topP": 1, "seed": 4, "maxOutputTokens": 5},
}  # fmt: skip
PAINT = {
    "prompt": "x", "negative_prompt": "y", "seed": 7, "steps": 3, "cfg_scale": 7, "width": 5,
    "height": 6, "sampler_name": "E a", "init_images": ["AAAA"], "denoising_strength": 0.4,
    "batch_size": 2, "override_settings": {"sd_model_checkpoint": "q"},
}  # fmt: skip
IMAGE = {"model": "m", "prompt": "x", "n": 2, "size": "512x512"}
CALLS = [
    ("openai", "/v1/images/generations", IMAGE, openai_image),
    ("openai", "/v1/images/edits", {**IMAGE, "image": [PICTURE]}, openai_image),
    ("openai", "/v1/chat/completions", CHAT, openai_chat),
    ("openai", "/v1/responses", RESPONSE, openai_response),
    ("nanogpt", "/v1/chat/completions", CHAT, openai_chat),
    ("anthropic", "/v1/messages", MESSAGE, anthropic_message),
    ("google", "/v1beta/models/gemini:generateContent", CONTENT, google_content),
    ("google", "/v1beta/models/gemini:streamGenerateContent", CONTENT, google_stream),
    ("a1111", "/sdapi/v1/img2img", PAINT, a1111_picture),
]
HEADERS = {"content-type": "application/json"}
ROUNDS = 60


def bent(value, chance):
    """A value some of whose parts are something else, or gone."""
    if chance.random() < 0.12:
        return chance.choice(STRANGE)
    if isinstance(value, dict):
        kept = {name: bent(one, chance) for name, one in value.items()}
        if kept and chance.random() < 0.1:
            del kept[chance.choice(list(kept))]
        return kept
    return [bent(one, chance) for one in value] if isinstance(value, list) else value


def fits(type_, body, sealed):
    plain = json.loads(json.dumps(body))
    faults = catalog.faults(catalog.lookup(type_, 1), plain, sealed)
    assert faults == [], faults
    canonical.encode({"body": body, "sealed": sealed})  # As it is sent.


def bent_stream(pieces, chance):
    for piece in pieces:
        head, mark, data = piece.partition(b"data: ")
        if data.strip() == b"[DONE]":
            yield piece
        else:
            yield head + mark + json.dumps(bent(json.loads(data), chance)).encode() + b"\n\n"


@pytest.mark.parametrize("call", CALLS, ids=lambda one: f"{one[0]}-{one[1].rpartition('/')[2]}")
def test_whatever_is_asked_and_answered_is_read_and_would_be_taken(call, record_property):
    """Requests are refused or fit an attempt; answers, whole or in events, fit an outcome."""
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", f"strange answers {call[1]} {seed}")
    chance = random.Random(seed)
    name, path, request, make = call
    found, provider = reader(name), Provider()
    plain = found.asked(path, HEADERS, io.BytesIO(json.dumps(request).encode()))
    for _ in range(ROUNDS):
        body = json.dumps(bent(request, chance)).encode()
        try:
            asked = found.asked(path, HEADERS, io.BytesIO(body))
            fits("GEN_ATTEMPT", asked.body(()), asked.sealed)
        except Unspeakable:
            asked = plain
        for mood in ("", "refuse"):
            status, _, answer = make(provider, request, mood)
            extra = {"cost": 0.1, "paymentSource": "x", "remainingBalance": 3}
            whole = bent({**(answer if isinstance(answer, dict) else {}), **extra}, chance)
            for code in (status, chance.choice([200, 302, 400, 429, 500])):
                headers = chance.choice([{}, {"x-request-id": "\u202e"}])
                told = found.told(asked, code, headers, json.dumps(whole).encode())
                fits(told.type, told.body, told.sealed)
            _, _, events = make(provider, {**request, "stream": True}, mood)
            if isinstance(events, list):
                stream = found.stream(asked)
                for piece in bent_stream(events, chance):
                    stream.feed(piece)
                told = stream.told(200, {}, aborted=chance.random() < 0.3)
                fits(told.type, told.body, told.sealed)
