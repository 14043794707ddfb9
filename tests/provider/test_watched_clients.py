# SPDX-License-Identifier: GPL-3.0-or-later
"""SDKs' own clients, watched in the program that uses them: fail closed, and paid for once."""

import asyncio

import anthropic
import httpx
import httpx2
import openai
import pytest
from provider_server import SPOKEN, picture

from sealtrail import AuditUnavailable, Trail
from sealtrail.content import digest_text
from sealtrail.errors import NotRecordable

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"
MESSAGES = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def watched(trail, address):
    with openai.OpenAI(api_key="k", base_url=f"{address}/v1") as plain, trail.watch(plain) as made:
        yield made


@pytest.fixture
def nobody():
    """A trail whose ledger is away."""
    with Trail("http://127.0.0.1:9", "t", trust=False, journal=False, attempts=1) as made:
        yield made


def test_a_picture_is_recorded_in_the_call_that_makes_it(watched, trail, recorded):
    """The same line of code; the answer names its attempt, and nests into the caller's own call."""
    with trail.acting_for("emp-7", consent=()), trail.gen(model="acme/agent@1") as agent:
        raw = watched.images.with_raw_response.generate(model="gpt-image-1", prompt=PROMPT)
        assert raw.parse().data[0].b64_json
        agent.output("done")
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ATTEMPT", "GEN", "GEN"]
    top, attempt, outcome, _ = recorded.entries
    assert attempt["trace"]["parent_event"] == top["event_id"]
    assert raw.headers["x-audit-event-id"] == attempt["event_id"]
    assert outcome["body"]["outputs"][0]["sha256"] == digest_text(picture())


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_a_stream_ends_once_its_outcome_is_on_record(trail, address, recorded, sdk):
    """Every word comes through, and the whole text's digest is on record."""
    with trail.acting_for("emp-7"):
        if sdk == "openai":
            with (
                openai.OpenAI(api_key="k", base_url=f"{address}/v1") as plain,
                trail.watch(plain) as client,
            ):
                stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
                words = "".join(one.choices[0].delta.content or "" for one in stream)
        else:
            with (
                anthropic.Anthropic(api_key="k", base_url=address) as plain,
                trail.watch(plain) as client,
                client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream,
            ):
                words = "".join(stream.text_stream)
    assert words.strip() == SPOKEN
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert recorded.entries[1]["body"]["outputs"][0]["sha256"] == digest_text(words.encode())


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_picture_that_a_response_draws_is_recorded_by_itself(watched, trail, recorded, stream):
    """Its tool's result is decoded, so the picture is found by its own digest."""
    asked = {"model": "m", "input": PROMPT, "tools": [{"type": "image_generation"}]}
    with trail.acting_for("emp-7"):
        answer = watched.responses.create(**asked, stream=stream)
        if stream:
            list(answer)
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    digests = [one["sha256"] for one in recorded.entries[1]["body"]["outputs"]]
    assert {digest_text(picture())} <= set(digests)


def test_what_would_be_fetched_past_the_record_is_not_asked_for(watched, trail, provider):
    """A response in the background: its output would come by a GET that nobody records."""
    with trail.acting_for("emp-7"), pytest.raises(NotRecordable, match="background"):
        watched.responses.create(model="m", input=PROMPT, background=True)
    assert provider.calls == []


def test_coroutines_are_watched_as_well(trail, address, recorded):
    """An async client: a picture, a stream read to its end, and one that is left early."""

    async def work():
        plain = openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1")
        async with plain, trail.watch(plain) as client, trail.acting_for("emp-7"):
            await client.images.generate(model="m", prompt=PROMPT)
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            words = [one.choices[0].delta.content or "" async for one in stream]
            stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            async for _ in stream:
                break
            await stream.close()
            return "".join(words)

    assert asyncio.run(work()).strip() == SPOKEN
    assert recorded.types == ["GEN_ATTEMPT", "GEN"] * 3
    assert recorded.entries[-1]["body"]["result"] == "partial"


def test_without_a_ledger_the_provider_hears_nothing(nobody, provider, address):
    """Our own exception comes out as it is, at once; the provider's books are empty."""
    with (
        openai.OpenAI(api_key="k", base_url=f"{address}/v1") as plain,
        nobody.watch(plain) as client,
        nobody.acting_for("emp-7"),
        pytest.raises(AuditUnavailable),
    ):
        client.images.generate(model="m", prompt=PROMPT)
    assert provider.calls == []


def test_an_outcome_without_a_record_is_withheld_and_paid_once(
    trail, provider, address, recorded, monkeypatch
):
    """The ledger goes away in between: no picture, no second call by the SDK's retries."""
    plain = openai.OpenAI(api_key="k", base_url=f"{address}/v1")
    record = trail.recorder.post

    def away(type_, **members):
        if type_ != "GEN_ATTEMPT":
            raise AuditUnavailable("away", attempts=1)
        return record(type_, **members)

    monkeypatch.setattr(trail.recorder, "post", away)
    with (
        plain,
        trail.watch(plain) as client,
        trail.acting_for("emp-7"),
        pytest.raises(AuditUnavailable),
    ):
        client.images.generate(model="m", prompt=PROMPT)
    assert len(provider.calls) == 1
    assert recorded.types == ["GEN_ATTEMPT"]


def test_a_failed_call_is_recorded_and_retried_as_another_one(watched, trail, provider, recorded):
    """500, then a picture: two attempts, two outcomes, two lines in the provider's books."""
    provider.moods = ["500"]
    with trail.acting_for("emp-7"):
        watched.images.generate(model="m", prompt=PROMPT)
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ERROR", "GEN_ATTEMPT", "GEN"]
    assert len(provider.calls) == 2


def test_an_answer_that_cannot_be_read_is_withheld_and_paid_once(
    trail, provider, address, recorded, monkeypatch
):
    """A fault in a reader: an error on record, our exception, and no second try by the SDK."""
    from sealtrail.providers.anthropic import Anthropic

    def broken(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(Anthropic, "told", broken)
    with (
        anthropic.Anthropic(api_key="k", base_url=address) as plain,
        trail.watch(plain) as client,
        trail.acting_for("emp-7"),
        pytest.raises(NotRecordable, match="withheld"),
    ):
        client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert recorded.types == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert len(provider.calls) == 1


def test_what_cannot_be_recorded_is_not_called(watched, trail, provider, address):
    """An unknown path is refused, unless it was allowed by name; a list of models is harmless."""
    with trail.acting_for("emp-7"), pytest.raises(NotRecordable):
        watched.moderations.create(model="m", input="x")
    watched.models.list()
    assert [call["path"] for call in provider.calls] == ["/v1/models"]
    with (
        openai.OpenAI(api_key="k", base_url=f"{address}/v1") as plain,
        trail.watch(plain, allow=["moderations"]) as client,
    ):
        client.moderations.create(model="m", input="x")
    assert len(provider.calls) == 2


def test_a_stream_may_be_read_where_nobody_acts(watched, trail, recorded):
    """A server makes the call for its user, and hands the words on when that is over."""
    with trail.acting_for("emp-7"):
        stream = watched.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in stream).strip() == SPOKEN
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]


def test_a_call_that_is_cancelled_while_it_is_recorded_has_an_outcome(trail, address, recorded):
    """The provider heard nothing, and the attempt does not stay open until its deadline."""

    async def cancelled():
        async with (
            openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1") as plain,
            trail.watch(plain) as client,
        ):
            asked = client.chat.completions.create(model="m", messages=MESSAGES)
            task = asyncio.create_task(asked)
            while not recorded.types:  # noqa: ASYNC110 - another thread records
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with trail.acting_for("emp-7"):
        asyncio.run(cancelled())
    assert recorded.types[0] == "GEN_ATTEMPT"
    assert len(recorded.types) == 2


@pytest.mark.parametrize("resource", ["realtime", "responses"])
def test_a_websocket_of_a_watched_client_leads_nowhere(watched, provider, resource):
    """It would go past the transport, and so past the record: no model hears of it."""
    options = {"model": "m"} if resource == "realtime" else {}
    with (
        pytest.raises(Exception, match="cannot-go-on-record"),
        getattr(watched, resource).connect(**options),
    ):
        raise AssertionError
    assert provider.calls == []


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_both_http_libraries_are_watched(trail, address, recorded, library):
    """Any program's own client, of the one library or the other, through the transport alone."""
    transport = trail.transport(library.HTTPTransport(), provider="house-models")
    with library.Client(transport=transport) as client, trail.acting_for("emp-7"):
        request = {"model": "m", "messages": MESSAGES}
        answer = client.post(f"{address}/v1/chat/completions", json=request)
    assert answer.json()["choices"]
    assert recorded.types == ["GEN_ATTEMPT", "GEN"]
    assert recorded.entries[0]["body"]["model"]["provider"] == "house-models"


def test_a_client_that_is_not_known_says_what_to_do(trail):
    """TypeError that names the other way, and nothing is half watched."""
    with pytest.raises(TypeError, match=r"trail\.transport"):
        trail.watch(object())
