# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers whose answers are legal and unusual: compressed, cut behind their end, or forged.

A server of bytes stands behind the gateway; a real ledger says what was recorded.
"""

import asyncio
import base64
import gzip
import json
import threading
import time
from contextlib import contextmanager

import httpx2
import openai
import pytest
from byte_server import Server, serving
from gateway_world import CREDENTIAL, PERSON_KEY, SERVICE_KEY, Strict
from google import genai
from google.genai import types
from provider_server import SPOKEN, event, picture

from sealtrail.content import digest_text
from sealtrail_gateway.policies import Verdict
from sealtrail_gateway.settings import Upstream

pytestmark = pytest.mark.once

SHOWN = json.dumps({"data": [{"b64_json": base64.b64encode(picture()).decode()}]}).encode()
REFUSED = json.dumps({"error": {"code": "moderation_blocked", "message": "No."}}).encode()
TEXT = event({"choices": [{"index": 0, "delta": {"content": "hello"}}]})
END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\n"
AUTH = {"authorization": f"Bearer {PERSON_KEY}"}


def answer(body, *fields, status=b"200 OK"):
    head = [b"HTTP/1.1 " + status, b"content-type: application/json", *fields]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


def chunked(*pieces):
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces)


@contextmanager
def behind(world, *says, **options):
    """A gateway in front of a server that says these bytes, one list for each connection."""
    ready, told = threading.Event(), []

    async def serve():
        server = Server(*says)
        async with serving(server) as url:
            told.extend((url, asyncio.get_running_loop(), over := asyncio.Event()))
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    upstreams = {
        "openai": Upstream(name="openai", url=told[0], reader="openai", credential=CREDENTIAL)
    }
    try:
        with world.other(upstreams=upstreams, **options) as url:
            yield url
    finally:
        told[1].call_soon_threadsafe(told[2].set)
        thread.join(10)


def paint(url):
    body = {"model": "m", "prompt": "x"}
    return httpx2.post(f"{url}/openai/v1/images/generations", headers=AUTH, json=body)


def chat(url):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    return httpx2.post(f"{url}/openai/v1/chat/completions", headers=AUTH, json=body, timeout=30)


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"GZIP"])
def test_an_answer_that_is_compressed_unasked_is_read(world, coding):
    """What is recorded and what goes on are the same plain bytes, a refusal is one, too."""
    field = b"content-encoding: " + coding
    refused = answer(gzip.compress(REFUSED), field, status=b"400 No")
    with behind(world, [answer(gzip.compress(SHOWN), field), refused]) as url:
        shown, denied = paint(url), paint(url)
    assert (shown.content, denied.content) == (SHOWN, REFUSED)
    outputs = world.entries[1]["body"]["outputs"]
    assert [one["sha256"] for one in outputs] == [digest_text(picture()), digest_text(SHOWN)]
    assert world.types == ["GEN_ATTEMPT", "GEN", "GEN_ATTEMPT", "GEN_DENY"]


def test_a_stream_that_is_compressed_unasked_is_read(world):
    """Event by event, and the last one waits for the outcome as ever."""
    packed = gzip.compress(TEXT + END + DONE)
    body = chunked(packed[:20], packed[20:], b"")
    head = STREAM + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    with behind(world, [head + body]) as url:
        assert chat(url).content == TEXT + END + DONE
    assert world.entries[1]["body"]["outputs"][0]["sha256"] == digest_text(b"hello")


@pytest.mark.parametrize(
    "field",
    [b"content-encoding: br", b"content-encoding: zstd", b"content-encoding: gzip, gzip",
     b"content-encoding: gzip"],
)  # fmt: skip
def test_an_answer_that_nobody_here_can_read_is_none(world, field):
    """Another coding, two, or not the one that is named: withheld, and an error on record."""
    with behind(world, [answer(SHOWN, field)]) as url:
        got = paint(url)
    assert (got.status_code, got.json()["error"]["code"]) == (502, "upstream-encoding")
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_only_the_gateway_says_which_attempt_it_was(world):
    """Neither that, nor what was for one connection, nor another way to itself is passed on."""
    forged = (
        b"X-Audit-Event-Id: 00000000-0000-7000-8000-000000000000", b"Connection: X-Hop",
        b"X-Hop: 1", b'Alt-Svc: h3=":443"', b"X-Kept: 1",
    )  # fmt: skip
    with behind(world, [answer(SHOWN, *forged)]) as url:
        got = paint(url)
    assert got.headers.get_list("x-audit-event-id") == [world.entries[0]["event_id"]]
    assert got.headers["x-kept"] == "1"
    assert not {"x-hop", "alt-svc"} & set(got.headers)


@pytest.mark.parametrize("named", [b"content-type: text/plain\r\n", b""])
def test_a_stream_that_is_not_called_one_is_read_as_what_was_asked_for(world, named):
    """A refusal in its events is one, and its last event waits for the outcome."""
    refusal = event({"choices": [{"index": 0, "delta": {"refusal": "I will not."}}]})
    head = b"HTTP/1.1 200 OK\r\n" + named + b"transfer-encoding: chunked\r\n\r\n"
    with behind(world, [head + chunked(refusal, END, DONE, b"")]) as url:
        assert chat(url).content == refusal + END + DONE
    assert world.types == ["GEN_ATTEMPT", "GEN_DENY"]


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_a_stream_is_whole_with_its_last_event(world, monkeypatch, how):
    """Whether the connection is cut behind it, or nobody ends the answer: released, and a GEN."""
    monkeypatch.setattr("sealtrail_gateway.streams._END_S", 0.3)
    head = STREAM + b"transfer-encoding: chunked\r\n\r\n" + chunked(TEXT, END, DONE)
    begun = time.monotonic()
    with behind(world, [head if how == "cut" else [head, 4.0]]) as url:
        assert chat(url).content == TEXT + END + DONE
        assert time.monotonic() - begun < 3
    assert (world.types, world.entries[1]["body"]["result"]) == (["GEN_ATTEMPT", "GEN"], "success")


@pytest.mark.parametrize("status", [b"999 Odd", b"304 Not Modified", b"600 More"])
def test_a_status_that_means_nothing_here_is_no_answer(world, status):
    """None that a caller could be told of a call: 502, and an error on record."""
    with behind(world, [answer(b"", status=status)]) as url:
        assert paint(url).status_code == 502
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_what_a_stream_has_released_is_not_withheld(world):
    """A hook says no at its end: that is kept back, and the record does not tell of more."""
    head = STREAM + b"transfer-encoding: chunked\r\n\r\n"
    with behind(world, [head + chunked(TEXT, END, DONE, b"")], hooks=[Strict()]) as url:
        got = chat(url).content
    assert b"[DONE]" not in got
    assert b"strict" in got
    assert world.types == ["GEN_ATTEMPT", "MODERATION", "GEN"]
    assert not any("disposition" in one for one in world.entries[2]["body"]["outputs"])


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_judgement_that_the_ledger_does_not_take_leaves_no_attempt_open(world, where):
    """A hook whose judgement has no form is a hook that broke: the call has its outcome."""

    class Formless:
        def before(self, asked):
            return None if where == "after" else self.judge(asked)

        def after(self, asked, told):
            return self.judge((asked, told))

        def judge(self, _):
            return Verdict(refused=False, judgement={"stage": "none"})

    with behind(world, [answer(SHOWN)], hooks=[Formless()]) as url:
        got = paint(url)
    assert got.json()["error"]["code"] == "hook-failed"
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR" if where == "before" else "GEN"]


@pytest.fixture
def google(world):
    """A gateway with the provider under the name of Google."""
    upstream = Upstream(name="google", url=world.address, reader="google", credential=CREDENTIAL)
    with world.other(upstreams={"google": upstream}) as url:
        yield url


def test_google_speaks_openais_format_under_its_own_name(world, google, clients):
    """`/google/v1beta/openai`, as its pages have it: recorded, with its credential as a bearer."""
    client = clients(
        openai.OpenAI(api_key=PERSON_KEY, base_url=f"{google}/google/v1beta/openai/", max_retries=0)
    )
    messages = [{"role": "user", "content": "x"}]
    stream = client.chat.completions.create(model="gemini", messages=messages, stream=True)
    words = "".join(one.choices[0].delta.content or "" for one in stream if one.choices)
    assert words.strip() == SPOKEN
    (call,) = world.provider.calls
    assert call["path"] == "/v1beta/openai/chat/completions"
    assert call["headers"]["authorization"] == f"Bearer {CREDENTIAL}"
    assert world.types == ["GEN_ATTEMPT", "GEN"]
    assert world.entries[0]["body"]["model"]["provider"] == "google"


def test_google_is_asked_for_whole_answers_only(world, google, clients):
    """Its SDK is served; a request for some members, or another format, would hide the end."""
    options = types.HttpOptions(base_url=f"{google}/google")
    client = clients(genai.Client(api_key=PERSON_KEY, http_options=options))
    list(client.models.generate_content_stream(model="gemini", contents="x"))
    assert world.types == ["GEN_ATTEMPT", "GEN"]
    path = f"{google}/google/v1beta/models/gemini:streamGenerateContent"
    for query, field in (
        ("?alt=sse&fields=candidates.content", {}), ("?alt=sse&%24fields=candidates", {}),
        ("?callback=f", {}), ("?alt=proto", {}), ("?alt=sse&alt=media", {}),
        ("?alt=sse", {"X-Goog-FieldMask": "candidates.content"}),
    ):  # fmt: skip
        got = httpx2.post(path + query, headers=AUTH | field, json={"contents": []})
        assert got.status_code == 403, query
    assert len(world.provider.calls) == 1


def test_what_calls_no_model_may_ask_google_for_anything(world, google):
    """A list in pages; a key in the query stays with the gateway as one in a header does."""
    address = f"{google}/google/v1beta/models"
    assert httpx2.get(f"{address}?pageSize=5&%6Bey=mine&fields=x", headers=AUTH).status_code == 200
    (call,) = world.provider.calls
    assert call["path"] == "/v1beta/models?pageSize=5&fields=x"


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
def test_a_person_whose_name_is_not_ascii_is_that_person(world, coding):
    """Most programs send a header in UTF-8, and some in ISO 8859-1: the same one is on record."""
    for name in ("José Größe", "zoë@example.org"):
        world.begin()
        headers = {"authorization": f"Bearer {SERVICE_KEY}"}
        headers |= {"sealtrail-on-behalf-of": name.encode(coding)}
        body = {"model": "m", "prompt": "x"}
        got = httpx2.post(f"{world.url}/openai/v1/images/generations", headers=headers, json=body)
        assert got.status_code == 200
        assert world.person(world.entries[0]) == name
