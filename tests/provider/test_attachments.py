# SPDX-License-Identifier: GPL-3.0-or-later
"""What is attached to a request, wherever its provider takes it, has its digest on record."""

import base64
import io
import json

import pytest
from provider_server import picture
from test_provider_formats import fits

from sealtrail.content import digest_text
from sealtrail.providers.bodies import read_form
from sealtrail.providers.exchange import Unspeakable
from sealtrail.providers.registry import reader

pytestmark = pytest.mark.once

ONE, TWO, MASK = picture((1, 0, 0)), picture((2, 0, 0)), picture((3, 0, 0))
HEADERS = {"content-type": "application/json"}


def b64(data):
    return base64.b64encode(data).decode()


def url(data):
    return f"data:image/png;base64,{b64(data)}"


def asked(name, path, request):
    found = reader(name).asked(path, HEADERS, io.BytesIO(json.dumps(request).encode()))
    fits("GEN_ATTEMPT", found.body(), found.sealed)
    return found


EDITS = [
    ("openai", {"images": [{"image_url": url(ONE)}, {"image_url": url(TWO)}],
                "mask": {"image_url": url(MASK)}}),
    ("xai", {"images": [{"url": url(ONE), "type": "image_url"}, {"url": url(TWO)}],
             "mask": {"url": url(MASK)}}),
    ("nanogpt", {"imageDataUrls": [url(ONE), url(TWO)], "maskDataUrl": url(MASK)}),
    ("nanogpt", {"imageDataUrl": url(ONE), "image": b64(TWO), "mask": b64(MASK)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "members"), EDITS)
def test_pictures_of_an_edit_are_inputs_in_every_dialect(name, members):
    """OpenAI's, xAI's and NanoGPT's members; a mask is told from a source."""
    path = "/v1/images/edits" if "images" in members else "/v1/images/generations"
    found = asked(name, path, {"model": "m", "prompt": "x", "seed": 42, **members})
    roles = [one["role"] for one in found.inputs]
    named = {found.sealed[f"inputs[{at}].sha256"] for at in range(3)}
    assert sorted(roles) == ["mask", "source", "source"]
    assert named == {digest_text(one) for one in (ONE, TWO, MASK)}
    assert found.sealed[f"inputs[{roles.index('mask')}].sha256"] == digest_text(MASK)
    assert found.params["seed"] == "42"


TALKS = [
    ("openai", "/v1/chat/completions", {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "look"},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{b64(ONE)}"}},
        {"type": "input_audio", "input_audio": {"data": b64(TWO), "format": "wav"}},
    ]}]}),
    ("openai", "/v1/responses", {"input": [
        {"role": "user", "content": [{"type": "input_file", "file_data": url(ONE)}]},
        {"type": "image_generation_call", "id": "ig", "result": b64(TWO)},
        {"type": "function_call_output", "call_id": "c", "output": "look"},
    ]}),
    ("anthropic", "/v1/messages", {"messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "data": b64(ONE)}},
        ]},
        {"type": "document", "source": {"type": "content", "content": [
            {"type": "image", "source": {"type": "base64", "data": b64(TWO)}},
        ]}},
    ]}]}),
    ("google", "/v1beta/models/g:generateContent", {"contents": [{"role": "user", "parts": [
        {"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": b64(ONE)}},
        {"functionResponse": {"name": "f", "parts": [{"inlineData": {"data": b64(TWO)}}]}},
    ]}]}),
    ("google", "/v1beta/models/imagen:predict", {"instances": [{"prompt": "look",
        "referenceImages": [{"referenceImage": {"bytesBase64Encoded": b64(ONE)}}],
        "image": {"bytesBase64Encoded": b64(TWO)}}]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "request_"), TALKS)
def test_what_is_attached_to_a_conversation_is_an_input(name, path, request_):
    """Files, sounds, what tools gave, references of an edit; its words are there to be judged."""
    found = asked(name, path, {"model": "m", "max_tokens": 4, **request_})
    named = {found.sealed[f"inputs[{at}].sha256"] for at in range(2)}
    assert named == {digest_text(ONE), digest_text(TWO)}
    assert "look" in found.said


def test_a_document_of_plain_text_is_words_and_no_picture():
    """It happens to be Base64; what it is its type says."""
    source = {"type": "text", "media_type": "text/plain", "data": "abcdefgh"}
    message = {"role": "user", "content": [{"type": "document", "source": source}]}
    found = asked("anthropic", "/v1/messages", {"model": "m", "messages": [message]})
    assert (found.inputs, found.said) == ([], ["abcdefgh"])


@pytest.mark.parametrize("member", ["b64_json", "url"])
def test_a_picture_within_an_address_is_a_picture(member):
    """xAI writes `b64_json` as a data URL, others their `url`: the picture is hashed, not that."""
    answer = json.dumps({"data": [{member: url(ONE)}]}).encode()
    wanted = asked("xai", "/v1/images/generations", {"model": "m", "prompt": "x"})
    told = reader("xai").told(wanted, 200, {}, answer)
    assert told.body["outputs"][0]["sha256"] == digest_text(ONE)


def test_what_xai_holds_back_is_a_denial_and_what_it_cost_is_told():
    """`respect_moderation` is false and there is no picture; ticks are ten thousand millionths."""
    wanted = asked("xai", "/v1/images/generations", {"model": "m", "prompt": "x"})
    shown = {"url": "https://imgen.example/1.jpeg", "respect_moderation": True}
    for data, type_ in (
        ([{"url": "", "respect_moderation": False}], "GEN_DENY"),
        ([shown, {"url": None, "respect_moderation": False}], "GEN"),
    ):
        answer = {"data": data, "usage": {"cost_in_usd_ticks": 200_000_000}}
        told = reader("xai").told(wanted, 200, {}, json.dumps(answer).encode())
        fits(told.type, told.body, told.sealed)
        assert (told.type, told.body["usage"]["cost"]) == (type_, "0.02")


FORMS = {
    "two boundaries": ("b; boundary=c", b""),
    "an encoded boundary": ("b; boundary*=utf-8''c", b""),
    "a line that begins as the boundary": ("b", b"a cat\r\n--bX and more"),
    "a part that is encoded": ("b", b"", b"Content-Transfer-Encoding: base64\r\n"),
    "two heads of a part": ("b", b"", b'Content-Disposition: form-data; name="x"\r\n'),
    "two names": ("b", b"", b"", b'; name="x"'),
}


@pytest.mark.parametrize("how", FORMS)
def test_a_form_that_two_would_cut_differently_is_refused(how):
    """What is recorded would not be what the model is given."""
    boundary, text, head, names, *_ = (*FORMS[how], b"", b"")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="prompt"' + names + b"\r\n" + head
        + b"\r\n" + text + b"\r\n--b--\r\n"
    )  # fmt: skip
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    with pytest.raises(Unspeakable):
        read_form(headers, io.BytesIO(body))


@pytest.mark.parametrize("boundary", ["----WebKitFormBoundaryA1", "'()+_,-./:=? x", "x" * 70])
def test_a_form_with_an_odd_boundary_is_read(boundary):
    """All that RFC 2046 allows; file names with any characters, spaces behind the boundary."""
    body = (
        f'preamble\r\n--{boundary}  \r\nContent-Disposition: form-data; name="image[]"; '
        'filename="ü ;\\"x.png"; filename*=UTF-8\'\'%c3%bc.png\r\n\r\nabc\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n'
        f"--{boundary}--\r\nepilogue"
    ).encode()
    headers = {"content-type": f'Multipart/Form-Data; charset=utf-8; BOUNDARY="{boundary}"'}
    found = reader("openai").asked("/v1/images/edits", headers, io.BytesIO(body))
    assert found.sealed["inputs[0].sha256"] == digest_text(b"abc")
    assert found.sealed["prompt.user"] == "a cat"


def test_a_prompt_that_is_sent_as_a_file_is_refused():
    """It would be read as the prompt by some, and recorded as a picture."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="prompt"; filename=""\r\n\r\nx\r\n--b--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(Unspeakable):
        reader("openai").asked("/v1/images/edits", headers, io.BytesIO(body))
