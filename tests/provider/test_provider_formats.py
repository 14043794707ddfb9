# SPDX-License-Identifier: GPL-3.0-or-later
"""What providers send and answer, read into what the ledger records: real clients, real bytes.

Each call is made by the provider's own SDK against a provider on this machine; the bytes that went
over the wire are then read, and every body is checked by the ledger's own catalogue.
"""

import base64
import contextlib
import io
import json

import anthropic
import httpx2
import openai
import pytest
from provider_server import SPOKEN, Provider, picture, providing

from ledger import catalog
from sealtrail.content import digest_text
from sealtrail.providers.bodies import read_form
from sealtrail.providers.exchange import Unspeakable
from sealtrail.providers.openai import NanoGpt
from sealtrail.providers.registry import reader

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def wire(provider):
    """A transport's view: what was sent to the provider and the raw bytes that came back."""
    with providing(provider) as address, httpx2.Client() as http:
        yield Wire(provider, address, http)


class Wire:
    def __init__(self, provider, address, http):
        self.provider, self.address, self.http = provider, address, http
        self.answers = []
        http.event_hooks = {"response": [self.note]}
        self.openai = openai.OpenAI(
            api_key="k", base_url=f"{address}/v1", http_client=self.http, max_retries=0
        )
        self.anthropic = anthropic.Anthropic(
            api_key="k", base_url=address, http_client=self.http, max_retries=0
        )

    def note(self, response):
        self.answers.append(response)

    def asked(self, name):
        call = self.provider.calls[-1]
        found = reader(name)
        assert found.kind("POST", call["path"]) == "call"
        asked = found.asked(call["path"], call["headers"], io.BytesIO(call["body"]))
        fits("GEN_ATTEMPT", asked.body(), asked.sealed)
        return asked

    def told(self, name):
        asked, response = self.asked(name), self.answers[-1]
        headers = {key.lower(): value for key, value in response.headers.items()}
        told = reader(name).told(asked, response.status_code, headers, response.content)
        fits(told.type, told.body, told.sealed)
        return told


def fits(type_, body, sealed):
    """The ledger would take this body; raises with its complaints."""
    faults = catalog.faults(catalog.lookup(type_, 1), json.loads(json.dumps(body)), sealed)
    assert faults == [], faults


def streamed(name, asked, pieces, *, headers=None, aborted=False, size=7):
    """Feed a stream in small pieces; returns what was released, what was kept back, the outcome."""
    found = reader(name).stream(asked)
    data = b"".join(pieces)
    released = b"".join(found.feed(data[at : at + size]) for at in range(0, len(data), size))
    told = found.told(200, headers or {"x-request-id": "req_1"}, aborted=aborted)
    fits(told.type, told.body, told.sealed)
    return released, found.rest(), told


def test_a_picture_of_openais_is_asked_and_told(wire):
    """Prompt sealed, size and number clear; each picture by its own bytes, and the whole answer."""
    wire.openai.images.generate(model="gpt-image-1", prompt=PROMPT, n=2, size="1024x1536")
    asked, told = wire.asked("openai"), wire.told("openai")
    assert asked.sealed == {"prompt.user": PROMPT}
    assert asked.params == {"width": 1024, "height": 1536, "n": 2}
    assert asked.model == {"provider": "openai", "name": "gpt-image-1", "version": "hosted"}
    digests = [one["sha256"] for one in told.body["outputs"]]
    assert digests[:2] == [digest_text(picture())] * 2
    assert digests[2] == digest_text(wire.answers[-1].content)
    assert told.body["provider"]["request_id"] == "req_000000"
    assert told.body["usage"] == {"input_tokens": 5, "output_tokens": 100, "images": 2}


def test_an_edit_is_read_part_by_part(wire):
    """The uploaded pictures' digests are sealed inputs; a mask is told from a source."""
    wire.openai.images.edit(
        model="gpt-image-1", image=picture(), mask=picture((1, 2, 3)), prompt=PROMPT
    )
    asked = wire.asked("openai")
    assert asked.operation == "edit"
    assert asked.input_type == "text+image"
    assert [one["role"] for one in asked.inputs] == ["source", "mask"]
    assert asked.sealed["inputs[1].sha256"] == digest_text(picture((1, 2, 3)))


def test_a_refusal_of_openais_is_a_denial(wire):
    """`moderation_blocked` is GEN_DENY with the provider's words sealed, and no error."""
    wire.provider.moods = ["refuse"]
    with pytest.raises(openai.BadRequestError):
        wire.openai.images.generate(model="gpt-image-1", prompt=PROMPT)
    told = wire.told("openai")
    assert told.type == "GEN_DENY"
    assert told.body["refusal_reason_code"] == "moderation_blocked"
    assert told.sealed == {"refusal_text": "Not this."}


@pytest.mark.parametrize(("mood", "retryable"), [("429", True), ("500", True), ("garbage", None)])
def test_a_failure_of_the_provider_is_an_error(wire, mood, retryable):
    """429 and 500 may be tried again; an answer that is none has an output all the same: itself."""
    wire.provider.moods = [mood]
    with contextlib.suppress(openai.APIError, ValueError):
        wire.openai.images.generate(model="gpt-image-1", prompt=PROMPT)
    told = wire.told("openai")
    if retryable is None:
        assert told.type == "GEN"
        assert told.body["usage"]["images"] == 0
    else:
        assert told.type == "GEN_ERROR"
        assert told.body["error"]["retryable"] is retryable


def test_a_chat_of_openais_is_asked_and_told(wire):
    """System and user texts apart, pictures by digest, the answer's text as an output."""
    shown = "data:image/png;base64," + base64.b64encode(picture()).decode()
    content = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": shown}}]
    wire.openai.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": content}],
        temperature=0.2,
    )
    asked, told = wire.asked("openai"), wire.told("openai")
    assert asked.sealed["prompt.system"] == "Be kind."
    assert asked.sealed["inputs[0].sha256"] == digest_text(picture())
    assert asked.params == {"temperature": "0.2"}
    assert told.body["outputs"][0]["sha256"] == digest_text(SPOKEN.encode())
    assert told.body["provider"]["model_returned"] == "returned-model-2026-10-01"
    assert told.body["provider"]["system_fingerprint"] == "fp_1"


@pytest.mark.parametrize("call", ["chat", "responses", "anthropic"])
def test_a_model_that_refuses_is_a_denial(wire, call):
    """Each format has its own way to say no; the words are sealed."""
    wire.provider.moods = ["refuse"]
    make(wire, call, stream=False)
    told = wire.told("anthropic" if call == "anthropic" else "openai")
    assert told.type == "GEN_DENY"


def make(wire, call, *, stream):
    if call == "chat":
        messages = [{"role": "user", "content": PROMPT}]
        return wire.openai.chat.completions.create(model="m", messages=messages, stream=stream)
    if call == "responses":
        return wire.openai.responses.create(model="m", input=PROMPT, stream=stream)
    if call == "images":
        return wire.openai.images.generate(model="m", prompt=PROMPT, stream=stream)
    messages = [{"role": "user", "content": PROMPT}]
    return wire.anthropic.messages.create(
        model="a-model", max_tokens=9, messages=messages, stream=stream
    )


@pytest.mark.parametrize("call", ["chat", "responses", "images", "anthropic"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_terminal_event_is_kept_back(wire, call, size):
    """Whatever the pieces: all but the last event goes on, and nothing is lost or doubled."""
    list(make(wire, call, stream=True))
    name = "anthropic" if call == "anthropic" else "openai"
    asked = wire.asked(name)
    assert asked.stream
    pieces = pieces_of(wire, call)
    released, rest, told = streamed(name, asked, pieces, size=size)
    assert released + rest == b"".join(pieces)
    assert rest == pieces[-1]
    assert told.type == "GEN"
    if call != "images":
        assert told.body["outputs"][0]["sha256"] == digest_text((SPOKEN + " ").encode())
        assert told.body["usage"]["output_tokens"] == 6


def pieces_of(wire, call, mood=""):
    from provider_server import ROUTES

    path = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
    path |= {"images": "/v1/images/generations", "anthropic": "/v1/messages"}
    return ROUTES[path[call]](wire.provider, {"stream": True}, mood)[2]


@pytest.mark.parametrize("call", ["chat", "responses", "anthropic"])
def test_a_stream_that_breaks_off_is_partial(wire, call):
    """What was released was put out: GEN `partial`; if nothing was, GEN_ERROR."""
    list(make(wire, call, stream=True))
    name = "anthropic" if call == "anthropic" else "openai"
    asked, pieces = wire.asked(name), pieces_of(wire, call)
    _, _, told = streamed(name, asked, pieces[:3], aborted=True)
    assert (told.type, told.body["result"]) == ("GEN", "partial")
    _, _, told = streamed(name, asked, [pieces[0][:5]], aborted=True)
    assert told.type == "GEN_ERROR"


def test_a_refusal_in_a_stream_is_a_denial(wire):
    """Chat says it in deltas, Anthropic by its stop reason."""
    for call in ("chat", "responses", "anthropic"):
        list(make(wire, call, stream=True))
        name = "anthropic" if call == "anthropic" else "openai"
        _, _, told = streamed(name, wire.asked(name), pieces_of(wire, call, "refuse"))
        assert told.type == "GEN_DENY", call


def test_a_refusal_of_ours_reads_as_the_providers_own(wire):
    """The SDKs show code and message, and do not try again."""
    for name, error in (("openai", openai.APIStatusError), ("anthropic", anthropic.APIStatusError)):
        headers, body = reader(name).refusal("audit-unavailable", "The ledger is away.", 503)
        request = httpx2.Request("POST", "http://127.0.0.1/")
        response = httpx2.Response(503, headers=headers, content=body, request=request)
        made = getattr(wire, name)._make_status_error_from_response(response)
        assert isinstance(made, error)
        assert "audit-unavailable" in str(made.body)
        assert headers["x-should-retry"] == "false"


def test_nanogpt_says_what_it_cost(wire):
    """Cost as an exact decimal, payer and balance sealed."""
    make(wire, "chat", stream=False)
    answer = json.loads(wire.answers[-1].content)
    answer |= {"cost": 0.1, "paymentSource": "balance of a person", "remainingBalance": 12.5}
    told = NanoGpt().told(wire.asked("openai"), 200, {}, json.dumps(answer).encode())
    fits(told.type, told.body, told.sealed)
    assert told.body["usage"]["cost"] == "0.1"
    assert told.body["usage"]["currency"] == "USD"
    assert told.sealed["usage.payment_source"] == "balance of a person"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n\r\nx\r\n--b--",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nnever ends',
        b"x" * 100_000,
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 300_000 + b"\r\n--b--",
    ],
)
def test_a_form_that_nobody_can_be_sure_of_is_refused(body):
    """No boundary, no name, no end, a field without a limit: it may not go to the model."""
    headers = {"content-type": "multipart/form-data; boundary=b"}
    with pytest.raises(Unspeakable):
        read_form(headers, io.BytesIO(body))


def test_a_large_upload_is_hashed_in_pieces():
    """Sixteen megabytes with boundary-like bytes inside have the digest of the file."""
    data = (b"\r\n--bx" * 100 + b"\0" * 1000) * 10_000
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b--"}
    whole = head.replace(b"--b\r\n", b"--b--\r\n") + data + b"\r\n--b----\r\n"
    form = read_form(headers, io.BytesIO(whole))
    assert [(one.sha256, one.size) for one in form.files] == [(digest_text(data), len(data))]
