# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's own format by its own SDK, and AUTOMATIC1111's by the bytes that its clients send."""

import base64
import io

import httpx2
import pytest
from google import genai
from google.genai import types
from provider_server import SPOKEN, picture

from sealtrail.content import digest_text
from sealtrail.providers.exchange import Unspeakable
from sealtrail.providers.registry import reader

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"


@pytest.fixture
def gemini(trail, address):
    transport = trail.transport(httpx2.HTTPTransport(), provider="google")
    with httpx2.Client(transport=transport) as http:
        options = types.HttpOptions(base_url=address, httpx_client=http)
        with genai.Client(api_key="k", http_options=options) as client:
            yield client


def test_a_content_of_googles_is_recorded(gemini, trail, recorded):
    """Text and picture each by its own bytes; usage, model and response id are on record."""
    shown = types.Part.from_bytes(data=picture((1, 2, 3)), mime_type="image/png")
    with trail.acting_for("emp-7"):
        answer = gemini.models.generate_content(
            model="gemini",
            contents=[PROMPT, shown],
            config=types.GenerateContentConfig(temperature=0.5, system_instruction="Be kind."),
        )
    assert answer.text == SPOKEN
    attempt, outcome = recorded.entries
    assert attempt["body"]["params"] == {"temperature": "0.5"}
    assert attempt["body"]["inputs"] == [{"type": "image", "role": "source"}]
    digests = [one["sha256"] for one in outcome["body"]["outputs"]]
    assert digests[:2] == [digest_text(picture()), digest_text(SPOKEN.encode())]
    assert outcome["body"]["usage"] | {"latency_ms": 0} == {
        "input_tokens": 7, "output_tokens": 6, "images": 1, "latency_ms": 0,
    }  # fmt: skip
    values = recorded.service.house.book.vault.open(attempt["event_id"]).values
    assert values["prompt.system"] == "Be kind."
    assert values["inputs[0].sha256"] == digest_text(picture((1, 2, 3)))


def test_a_stream_of_googles_ends_with_its_finish_reason(gemini, trail, recorded):
    """There is no terminal event: the chunk with the reason is the one that is kept back."""
    with trail.acting_for("emp-7"):
        words = "".join(
            chunk.text or ""
            for chunk in gemini.models.generate_content_stream(model="gemini", contents=PROMPT)
        )
    assert words.strip() == SPOKEN
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert recorded.entries[1]["body"]["outputs"][0]["sha256"] == digest_text(words.encode())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_block_of_googles_is_a_denial(gemini, trail, provider, recorded, stream):
    """`promptFeedback.blockReason`, whole or as a stream's only chunk."""
    provider.moods = ["refuse"]
    with trail.acting_for("emp-7"):
        if stream:
            list(gemini.models.generate_content_stream(model="gemini", contents=PROMPT))
        else:
            gemini.models.generate_content(model="gemini", contents=PROMPT)
    assert recorded.types == ["GEN_ATTEMPT", "GEN_DENY"]
    assert recorded.entries[1]["body"]["refusal_reason_code"] == "SAFETY"


def test_pictures_of_a1111_are_recorded(trail, address, recorded):
    """Seed, sampler and size as sent, inputs sealed, the checkpoint that it says it used."""
    transport = trail.transport(httpx2.HTTPTransport(), provider="a1111")
    request = {
        "prompt": PROMPT,
        "negative_prompt": "people",
        "init_images": [base64.b64encode(picture((9, 9, 9))).decode()],
        "seed": 7,
        "steps": 20,
        "cfg_scale": 6.5,
        "sampler_name": "Euler a",
        "denoising_strength": 0.75,
        "batch_size": 2,
        "width": 512,
        "height": 768,
    }
    with httpx2.Client(transport=transport) as client, trail.acting_for("emp-7"):
        answer = client.post(f"{address}/sdapi/v1/img2img", json=request)
    assert len(answer.json()["images"]) == 2
    attempt, outcome = recorded.entries
    assert attempt["body"]["params"] == {
        "seed": "7", "steps": 20, "cfg_scale": "6.5", "sampler": "Euler-a", "strength": "0.75",
        "width": 512, "height": 768, "n": 2,
    }  # fmt: skip
    assert outcome["body"]["provider"]["system_fingerprint"] == "abcdef0123"
    assert outcome["body"]["usage"]["images"] == 2


@pytest.mark.parametrize(
    ("name", "method", "path", "kind"),
    [
        ("a1111", "POST", "/sdapi/v1/options", "unknown"),
        ("a1111", "GET", "/sdapi/v1/sd-models", "harmless"),
        ("a1111", "GET", "/sdapi/v1/progress", "unknown"),
        ("a1111", "GET", "/file=outputs/1.png", "unknown"),
        ("a1111", "POST", "/run/predict", "unknown"),
        ("google", "POST", "/v1beta/models/gemini:batchGenerateContent", "unknown"),
        ("google", "POST", "/v1beta/models/gemini:countTokens", "harmless"),
        ("google", "GET", "/v1beta/models/gemini", "harmless"),
        ("google", "GET", "/v1beta/models/gemini:generateContent", "unknown"),
        ("google", "POST", "/v1beta/cachedContents", "unknown"),
        ("openai", "POST", "/v1/fine_tuning/jobs", "unknown"),
        ("openai", "DELETE", "/v1/models/x", "unknown"),
        ("anthropic", "POST", "/v1/messages/batches", "unknown"),
    ],
)
def test_what_could_call_a_model_unseen_is_unknown(name, method, path, kind):
    """Batches, settings that change a model, previews, and whatever else nobody has read."""
    assert reader(name).kind(method, path) == kind


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "prompt": "a cat", "prompt": "something else"}',
        b'{"model": "m", "prompt": "a cat", "Prompt": "something else"}',
        b'{"model": "m", "messages": [{"role": "user", "content": "a", "content": "b"}]}',
    ],
)
@pytest.mark.parametrize("name", ["openai", "anthropic", "google", "a1111", "nanogpt"])
def test_what_a_model_could_read_otherwise_is_not_asked(name, body):
    """Twice the same member: the record would show one, and the model be given the other."""
    paths = {"google": "/v1beta/models/gemini:generateContent", "a1111": "/sdapi/v1/txt2img"}
    path = paths.get(name, "/v1/chat/completions")
    with pytest.raises(Unspeakable):
        reader(name).asked(path, {"content-type": "application/json"}, io.BytesIO(body))


def test_a_form_names_each_field_once():
    """As for JSON; a list of files or of `name[]` may be there more than once."""
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}

    def asked(*parts):
        body = "".join(part.format(*one) for one in parts) + "--b--\r\n"
        return reader("openai").asked("/v1/images/edits", headers, io.BytesIO(body.encode()))

    assert asked(("prompt", "a"), ("x[]", "1"), ("x[]", "2")).sealed == {"prompt.user": "a"}
    with pytest.raises(Unspeakable, match="twice"):
        asked(("prompt", "a"), ("prompt", "b"))
