# SPDX-License-Identifier: GPL-3.0-or-later
"""Unchanged programs with current SDKs, whose base URL is the gateway's."""

import json
import socket
import time

import anthropic
import httpx2
import openai
import pytest
from gateway_world import CREDENTIAL, PERSON_KEY, SERVICE_KEY
from provider_server import SPOKEN, picture

from sealtrail.content import digest_text

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"


@pytest.fixture
def openai_client(world, clients):
    return clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{world.url}/openai/v1"))


@pytest.fixture
def anthropic_client(world, clients):
    return clients(anthropic.Anthropic(api_key=PERSON_KEY, base_url=f"{world.url}/anthropic"))


def test_a_picture_is_recorded_and_released(world, openai_client):
    """Attempt, then outcome with the picture's digest; the person committed, the prompt sealed."""
    answer = openai_client.images.with_raw_response.generate(model="gpt-image-1", prompt=PROMPT)
    assert answer.parse().data[0].b64_json
    attempt, outcome = world.entries
    assert (attempt["type"], outcome["type"]) == ("GEN_ATTEMPT", "GEN")
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(picture())
    assert outcome["body"]["provider"]["request_id"] == "req_000000"
    assert world.person(attempt) == "emp-7"
    assert world.values(attempt)["prompt.user"] == PROMPT
    assert answer.headers["x-audit-event-id"] == attempt["event_id"]
    assert answer.headers["x-request-id"] == "req_000000"


def test_only_the_gateway_has_the_providers_credential(world, openai_client, anthropic_client):
    """What reaches the provider carries its credential, and no key or person of ours."""
    openai_client.images.generate(model="m", prompt=PROMPT)
    messages = [{"role": "user", "content": PROMPT}]
    anthropic_client.messages.create(model="m", max_tokens=9, messages=messages)
    first, second = (call["headers"] for call in world.provider.calls)
    assert first["authorization"] == f"Bearer {CREDENTIAL}"
    assert second["x-api-key"] == CREDENTIAL
    for headers in (first, second):
        assert PERSON_KEY not in str(headers)
        assert "emp-7" not in str(headers)


@pytest.mark.parametrize("call", ["chat", "responses", "anthropic"])
def test_a_stream_is_recorded_before_its_terminal_event(
    world, openai_client, anthropic_client, call
):
    """The SDK gets every word; the ledger has the whole text's digest, usage and model."""
    messages = [{"role": "user", "content": PROMPT}]
    if call == "chat":
        stream = openai_client.chat.completions.create(model="m", messages=messages, stream=True)
        words = "".join(one.choices[0].delta.content or "" for one in stream)
    elif call == "responses":
        stream = openai_client.responses.create(model="m", input=PROMPT, stream=True)
        words = "".join(one.delta for one in stream if one.type == "response.output_text.delta")
    else:
        with anthropic_client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
            words = "".join(stream.text_stream)
    assert words.strip() == SPOKEN
    attempt, outcome = world.entries
    assert outcome["type"] == "GEN"
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(words.encode())
    assert outcome["body"]["usage"]["output_tokens"] == 6
    assert outcome["body"]["provider"]["model_returned"] == world.provider.model
    assert attempt["body"]["model"]["name"] == "m"


def test_an_upload_goes_through_with_its_digest(world, openai_client):
    """An edit of three megabytes: the file reaches the provider, its digest is sealed."""
    large = picture() + b"\0" * 3_000_000
    openai_client.images.edit(model="gpt-image-1", image=("x.png", large), prompt=PROMPT)
    assert large in world.provider.calls[0]["body"]
    attempt = world.entries[0]
    assert attempt["body"]["operation"] == "edit"
    assert world.values(attempt)["inputs[0].sha256"] == digest_text(large)


@pytest.mark.parametrize(
    ("mood", "type_", "raised"),
    [
        ("refuse", "GEN_DENY", openai.BadRequestError),
        ("429", "GEN_ERROR", openai.RateLimitError),
        ("500", "GEN_ERROR", openai.InternalServerError),
    ],
)
def test_what_the_provider_refuses_or_fails_at_is_recorded(
    world, openai_client, mood, type_, raised
):
    """The SDK raises as without a gateway, and the ledger has the outcome of its own kind."""
    world.provider.moods = [mood]
    client = openai_client.with_options(max_retries=0)
    with pytest.raises(raised):
        client.images.generate(model="m", prompt=PROMPT)
    assert world.types == ["GEN_ATTEMPT", type_]


def test_each_retry_of_an_sdk_is_a_call_of_its_own(world, openai_client):
    """Two failures and a picture: three attempts, three outcomes, three lines in the books."""
    world.provider.moods = ["500", "429"]
    openai_client.images.generate(model="m", prompt=PROMPT)
    assert len(world.provider.calls) == 3
    assert sorted(world.types) == ["GEN", *["GEN_ATTEMPT"] * 3, *["GEN_ERROR"] * 2]


def test_a_broken_stream_is_partial_and_the_sdk_learns_of_it(world, openai_client):
    """The provider hangs up in the middle: an error for the program, GEN `partial` on record."""
    world.provider.moods = ["cut"]
    messages = [{"role": "user", "content": PROMPT}]
    with pytest.raises(openai.APIError):
        list(openai_client.chat.completions.create(model="m", messages=messages, stream=True))
    outcome = world.entries[-1]
    assert (outcome["type"], outcome["body"]["result"]) == ("GEN", "partial")


def test_a_reader_that_goes_away_in_a_stream_is_recorded(world, openai_client):
    """The program closes the stream after a word: the attempt does not stay open."""
    messages = [{"role": "user", "content": PROMPT}]
    stream = openai_client.chat.completions.create(model="m", messages=messages, stream=True)
    next(iter(stream))
    stream.close()
    until = time.monotonic() + 10
    while len(world.types) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert world.types[0] == "GEN_ATTEMPT"
    assert world.types[1] == "GEN"


def test_a_silent_provider_is_a_timeout(world, clients):
    """504 in the provider's shape, GEN_ERROR on record, and the SDK does not try again."""
    world.provider.moods, world.provider.slow_s = ["slow"], 1
    with world.other(timeout_s=0.3) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        with pytest.raises(openai.APIStatusError) as failure:
            client.images.generate(model="m", prompt=PROMPT)
    assert failure.value.status_code == 504
    assert failure.value.code == "upstream-timeout"
    assert len(world.provider.calls) == 1
    entry = world.entries[1]
    assert (entry["type"], entry["body"]["error"]["code"]) == ("GEN_ERROR", "upstream-timeout")


def test_a_shared_key_has_to_name_a_person(world, clients):
    """Refused with what to do; with the header it is the named person who is committed."""
    client = clients(
        openai.OpenAI(api_key=SERVICE_KEY, base_url=f"{world.url}/openai/v1", max_retries=0)
    )
    with pytest.raises(openai.PermissionDeniedError, match="On-Behalf-Of"):
        client.images.generate(model="m", prompt=PROMPT)
    assert world.provider.calls == []
    named = {"Sealtrail-On-Behalf-Of": "emp-9", "Sealtrail-Session": "s-1"}
    client.images.generate(model="m", prompt=PROMPT, extra_headers=named)
    assert world.person(world.entries[0]) == "emp-9"
    assert world.values(world.entries[0])["actor.session_id"] == "s-1"


def test_an_unknown_key_reaches_nobody(world, clients):
    """401 in the provider's shape; neither provider nor ledger has heard of it."""
    client = clients(
        openai.OpenAI(api_key="sk-stolen", base_url=f"{world.url}/openai/v1", max_retries=0)
    )
    with pytest.raises(openai.AuthenticationError):
        client.images.generate(model="m", prompt=PROMPT)
    assert world.provider.calls == []
    assert world.types == []


def test_looks_pass_through_and_the_unknown_is_refused(world, openai_client):
    """The list of models is harmless; a path that could call a model unseen is not."""
    openai_client.models.list()
    assert world.types == []
    for path in ("/openai/v1/audio/speech", "/openai/v1/embeddings", "/openai/v1/../v1/x"):
        answer = httpx2.post(world.url + path, headers={"authorization": f"Bearer {PERSON_KEY}"})
        assert answer.status_code == 403, path
        assert json.loads(answer.content)["error"]["code"] == "not-recordable"
    assert len(world.provider.calls) == 1


def test_a_rule_refuses_before_the_model(world, clients):
    """The judgement and GEN_DENY are on record, the provider was not called."""
    with world.other(refuse=("(?i)passport",), policy_version="7") as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.images.generate(model="m", prompt="a forged Passport")
        assert refused.value.code == "refusal-rule"
        client.images.generate(model="m", prompt=PROMPT)
    assert len(world.provider.calls) == 1
    assert world.types == [
        "GEN_ATTEMPT", "MODERATION", "GEN_DENY", "GEN_ATTEMPT", "MODERATION", "GEN",
    ]  # fmt: skip
    assert world.entries[1]["body"]["mod"]["rule_ids"] == ["refuse-0"]


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("images/generations", {"model": "m", "prompt": PROMPT}),
        ("chat/completions", {"model": "m", "stream": True, "messages": []}),
    ],
)
def test_a_caller_who_hangs_up_leaves_an_outcome(world, path, call):
    """While the model works: the record says why nobody got an answer, and the gateway goes on."""
    world.provider.moods = ["slow"]
    body = json.dumps(call).encode()
    host, _, port = world.url.removeprefix("http://").partition(":")
    head = f"POST /openai/v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {PERSON_KEY}\r\n"
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until = time.monotonic() + 10
        while not world.provider.calls and time.monotonic() < until:
            time.sleep(0.01)
    while len(world.entries) < 2 and time.monotonic() < until:
        time.sleep(0.01)

    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert world.entries[1]["body"]["error"]["code"] == "caller-gone"
    time.sleep(world.provider.slow_s)
    answer = httpx2.post(
        f"{world.url}/openai/v1/images/generations",
        headers={"authorization": f"Bearer {PERSON_KEY}"},
        json={"model": "m", "prompt": PROMPT},
    )
    assert answer.status_code == 200
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR", "GEN_ATTEMPT", "GEN"]
