# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of call in one run: the provider's books and the ledger agree, one to one."""

import collections
import contextlib
import random
import threading
import time

import anthropic
import openai
import pytest
from gateway_world import PERSON_KEY

pytestmark = pytest.mark.once

MESSAGES = [{"role": "user", "content": "a lighthouse in the fog"}]
MOODS = ["", "", "", "refuse", "429", "500", "cut", "slow"]


class Program:
    """One application among many: it makes calls until it is told to stop."""

    def __init__(self, url, seed):
        self.chance = random.Random(seed)
        self.openai = openai.OpenAI(
            api_key=PERSON_KEY, base_url=f"{url}/openai/v1", max_retries=0, timeout=20
        )
        self.anthropic = anthropic.Anthropic(
            api_key=PERSON_KEY, base_url=f"{url}/anthropic", max_retries=0, timeout=20
        )

    def call(self):
        kind = self.chance.choice(["image", "chat", "stream", "leave", "message", "repeat"])
        with contextlib.suppress(openai.APIError, anthropic.APIError):
            if kind == "image":
                self.openai.images.generate(model="m", prompt=str(self.chance.random()))
            elif kind == "chat":
                self.openai.chat.completions.create(model="m", messages=MESSAGES)
            elif kind == "stream":
                list(self.openai.responses.create(model="m", input="x", stream=True))
            elif kind == "leave":
                with self.openai.chat.completions.create(
                    model="m", messages=MESSAGES, stream=True
                ) as stream:
                    next(iter(stream), None)
            elif kind == "message":
                self.anthropic.messages.create(model="m", max_tokens=9, messages=MESSAGES)
            else:
                again = {"x-stainless-retry-count": "1"}
                for headers in ({}, again):
                    self.openai.images.generate(model="m", prompt="twice", extra_headers=headers)

    def close(self):
        self.openai.close()
        self.anthropic.close()


def covered(world, calls):
    """Make so many calls by eight programs, then compare the books with the log."""
    chance = random.Random(calls)
    world.provider.moods = [chance.choice(MOODS) for _ in range(3 * calls)]
    world.provider.slow_s = 1.0
    with world.other(timeout_s=0.4) as url:
        programs = [Program(url, seed) for seed in range(8)]
        left = iter(range(calls))
        lock = threading.Lock()

        def work(program):
            while True:
                with lock:
                    if next(left, None) is None:
                        return
                program.call()

        threads = [threading.Thread(target=work, args=(one,)) for one in programs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for program in programs:
            program.close()
        until = time.monotonic() + 15
        while time.monotonic() < until and len(world.entries) < 2 * len(world.provider.calls):
            time.sleep(0.05)
    return compared(world)


def compared(world):
    """Return the outcomes by type; every call in the books has one attempt and one outcome."""
    entries = world.entries
    attempts = {e["aggregate"]["id"] for e in entries if e["type"] == "GEN_ATTEMPT"}
    outcomes = collections.Counter(
        e["aggregate"]["id"] for e in entries if e["type"] in {"GEN", "GEN_DENY", "GEN_ERROR"}
    )
    assert set(outcomes) == attempts, "an attempt is open, or an outcome has none"
    assert set(outcomes.values()) == {1}
    assert len(attempts) == len(world.provider.calls)
    named = [
        body["provider"]["request_id"]
        for e in entries
        if "request_id" in (body := e["body"]).get("provider", {})
    ]
    booked = {call["id"] for call in world.provider.calls}
    assert len(named) == len(set(named))
    assert set(named) <= booked
    return collections.Counter(e["type"] for e in entries)


def test_a_hundred_mixed_calls_are_covered_one_to_one(world):
    """Successes, refusals, 429, 500, time-outs, broken and abandoned streams, repeated requests."""
    types = covered(world, 100)
    assert types["GEN_ATTEMPT"] >= 100
    assert min(types["GEN"], types["GEN_DENY"], types["GEN_ERROR"]) > 0


@pytest.mark.soak
def test_a_thousand_mixed_calls_are_covered_one_to_one(world):
    """The same with a thousand."""
    assert covered(world, 1_000)["GEN_ATTEMPT"] >= 1_000
