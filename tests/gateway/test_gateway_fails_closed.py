# SPDX-License-Identifier: GPL-3.0-or-later
"""No ledger, no model: before a call, after a call, and when the ledger answers nonsense."""

import asyncio
import contextlib
import socket
import threading

import anthropic
import openai
import pytest
from gateway_world import PERSON_KEY, Strict

from sealtrail_gateway.doctor import examine, fails_closed

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"
MESSAGES = [{"role": "user", "content": PROMPT}]


class Way:
    """A way to the ledger that a test can cut, and mend."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads, self._sockets = [], []
        self._is_cut = False
        self._spawn(self._accept)

    @property
    def url(self):
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self):
        self._is_cut = True
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self._is_cut = False

    def close(self):
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _spawn(self, work, *arguments):
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._target)
                self._sockets += [here, there]
                if self._is_cut:
                    self.cut()
                self._spawn(self._carry, here, there)
                self._spawn(self._carry, there, here)

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def way(world):
    host, port = world.service.url.removeprefix("http://").split(":")
    made = Way((host, int(port)))
    yield made
    made.close()


class Knife:
    """Cuts the way to the ledger between a call's attempt and its outcome."""

    def __init__(self, way):
        self._way = way

    def before(self, asked):
        del asked
        self._way.cut()

    def after(self, asked, told):
        del asked, told


def test_without_a_ledger_no_model_is_called(world, clients):
    """503 in the provider's own shape, at once; zero calls in the provider's books."""
    with world.other(ledger_url="http://127.0.0.1:9", attempts=1) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        for call in (
            lambda: client.images.generate(model="m", prompt=PROMPT),
            lambda: client.chat.completions.create(model="m", messages=MESSAGES, stream=True),
        ):
            with pytest.raises(openai.InternalServerError) as error:
                call()
            assert error.value.code == "audit-unavailable"
        other = clients(anthropic.Anthropic(api_key=PERSON_KEY, base_url=f"{url}/anthropic"))
        with pytest.raises(anthropic.InternalServerError, match="audit-unavailable"):
            other.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert world.provider.calls == []


def test_an_outcome_that_cannot_be_recorded_is_withheld_and_not_paid_twice(world, way, clients):
    """The picture is thrown away, the SDK does not retry, and one call stands in the books."""
    with world.other(ledger_url=way.url, hooks=[Knife(way)], attempts=1) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        with pytest.raises(openai.InternalServerError) as error:
            client.images.generate(model="m", prompt=PROMPT)
        assert error.value.code == "audit-unavailable"
        assert b"b64_json" not in error.value.response.content
        way.mend()
        client = client.with_options(max_retries=0)
        again = {"x-stainless-retry-count": "1"}
        with pytest.raises(openai.ConflictError) as refused:
            client.images.generate(model="m", prompt=PROMPT, extra_headers=again)
        assert refused.value.code == "already-called"
    assert len(world.provider.calls) == 1


def test_a_stream_whose_outcome_cannot_be_recorded_has_no_end(world, way, clients):
    """The words came, the terminal event does not: the SDK raises instead of ending well."""
    with world.other(ledger_url=way.url, hooks=[Knife(way)], attempts=1) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError, match="record"):
            list(stream)
    assert len(world.provider.calls) == 1


def test_nobody_is_sent_past_the_gateway(world, clients):
    """An upstream's redirect is an error on record; its address does not reach the caller."""
    client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{world.url}/openai/v1"))
    world.provider.moods = ["redirect"]
    with pytest.raises(openai.InternalServerError) as error:
        client.images.generate(model="m", prompt=PROMPT)
    assert (error.value.status_code, error.value.code) == (502, "upstream-redirect")
    assert "location" not in error.value.response.headers
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert len(world.provider.calls) == 1


def test_a_harmless_request_cannot_become_another_one(world, clients):
    """A GET is passed through unrecorded, so no header may turn it into a POST behind it."""
    client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{world.url}/openai/v1"))
    client.models.list(extra_headers={"X-HTTP-Method-Override": "POST", "X-Kept": "1"})
    (call,) = world.provider.calls
    assert call["headers"]["x-kept"] == "1"
    assert "x-http-method-override" not in call["headers"]


def test_a_hook_holds_an_output_back(world, clients):
    """Judged after the model: the judgement and the withheld output are on record."""
    with world.other(hooks=[Strict()]) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.images.generate(model="m", prompt=PROMPT)
    assert refused.value.code == "strict"
    outcome = world.entries[2]
    assert {one["disposition"] for one in outcome["body"]["outputs"]} == {"withheld"}
    assert len(world.provider.calls) == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_hook_that_breaks_says_neither_yes_nor_nothing(world, clients, where):
    """A classifier that crashes: the call goes no further, and is on record with its outcome."""

    class Broken:
        def before(self, asked):
            del asked
            if where == "before":
                raise RuntimeError("no weights")

        def after(self, asked, told):
            del asked, told
            raise RuntimeError("no weights")

    with world.other(hooks=[Broken()]) as url:
        client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{url}/openai/v1"))
        with pytest.raises(openai.APIStatusError) as refused:
            client.images.generate(model="m", prompt=PROMPT)
    assert refused.value.code == "hook-failed"
    assert b"b64_json" not in refused.value.response.content
    if where == "before":
        assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]
        assert world.provider.calls == []
    else:
        assert world.types == ["GEN_ATTEMPT", "GEN"]
        outputs = world.entries[1]["body"]["outputs"]
        assert {one["disposition"] for one in outputs} == {"withheld"}


def test_a_reader_that_breaks_leaves_no_attempt_open(world, clients, monkeypatch):
    """A fault of ours while an answer is read: nothing is released, and the outcome says so."""
    from sealtrail.providers.openai import OpenAi

    def broken(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(OpenAi, "told", broken)
    client = clients(openai.OpenAI(api_key=PERSON_KEY, base_url=f"{world.url}/openai/v1"))
    with pytest.raises(openai.InternalServerError) as error:
        client.images.generate(model="m", prompt=PROMPT)
    assert error.value.code == "gateway-error"
    assert world.types == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert world.entries[1]["body"]["error"]["code"] == "gateway-error"
    assert len(world.provider.calls) == 1


def test_the_self_test_proves_it(world):
    """`doctor` sees the refusal, the ledger, the callers and the upstreams."""
    checks = asyncio.run(examine(world.settings))
    assert {one.name: one.passed for one in checks} == {
        "fail-closed": True, "ledger": True, "callers": True, "upstreams": True,
    }  # fmt: skip


def test_the_self_test_notices_a_gateway_that_lets_calls_through(world, monkeypatch):
    """Were the attempt not waited for, the provider would hear of the call, and doctor says so."""
    from sealtrail_gateway.relay import Relay, Under

    async def careless(self, incoming):
        from types import SimpleNamespace

        asked = incoming.reader.asked(incoming.path, incoming.headers, incoming.body)
        attempt = SimpleNamespace(event_id="none", link=lambda rel: {"rel": rel})
        del self
        return Under(incoming=incoming, asked=asked, id="x", trace={}, key="", attempt=attempt)

    monkeypatch.setattr(Relay, "begin", careless)
    assert not asyncio.run(fails_closed(world.settings)).passed
