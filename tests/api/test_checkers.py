# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests that are checked in other processes: the same results, and nothing lost with one."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from house import attempt, event_id, gen
from hypothesis import given
from hypothesis import strategies as st
from served_house import serving

from api import checkers as checkers_module
from api.checkers import Checkers
from api.checking import Caller, Refusal, check_many, check_one, pack, unpack
from ledger.errors import LedgerError
from ledger.request import Identity, Prepared

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PIPELINE = Caller(
    Identity(credential="cred_1", tenant="t", role="pipeline", kind="pipeline", name="p"),
    frozenset({"p", "q"}),
    strict=True,
)
PERSON = Caller(
    Identity(credential="cred_2", tenant="t", role="pipeline", kind="person", name="someone"),
    frozenset(),
    strict=False,
)


def bodies():
    """Right ones and wrong ones, as they come."""
    right = attempt()
    custody = {k: v for k, v in right.items() if k not in {"sealed", "record_key", "on_behalf_of"}}
    digest = "A" * 43
    values = [
        right,
        gen(event_id()),
        {**right, "source": {"id": "s", "n": 2**53 - 1}},
        {**right, "trace": {"trace_id": "é"}},
        {**right, "on_behalf_of": "q"},
        {**right, "body": {}},
        {**custody, "_sd": [digest], "person_digest": digest},
        {k: v for k, v in right.items() if k != "on_behalf_of"},
        [],
        7,
    ]
    return [
        *(json.dumps(value).encode() for value in values),
        b"",
        b'{"a":1,"a":1}',
        b"\xff",
        b"[1.5]",
    ]


@pytest.mark.parametrize("caller", [PIPELINE, PERSON], ids=["pipeline", "person"])
def test_what_goes_through_another_process_comes_back_as_it_was(caller):
    """Prepared requests and refusals, each equal to the one that was packed."""
    for data in bodies():
        found = check_one(data, caller, 1_700_000_000_000)

        assert unpack(pack(found)) == found
        if isinstance(found, Prepared):
            assert type(unpack(pack(found)).source) is type(found.source)


@given(st.binary(max_size=40))
def test_any_bytes_are_answered(data):
    """A body is prepared or refused; it never breaks the process that looks at it."""
    assert isinstance(unpack(pack(check_one(data, PIPELINE, 1))), Refusal)


async def started(count):
    pool = Checkers(count)
    await pool.start()
    await readiness(pool, count)
    return pool


async def readiness(pool, count):
    async with asyncio.timeout(30):
        while len(pool.processes) < count:  # noqa: ASYNC110 - a process is waited for
            await asyncio.sleep(0.01)


async def answer(pool, kind, data, caller=PIPELINE):
    told = asyncio.get_running_loop().create_future()
    pool.check(kind, data, caller, 1_700_000_000_000, told.set_result)
    return await told


def test_a_checker_finds_what_this_process_finds():
    """One event at a time, an array, lines; and a body that is refused as a whole."""
    sent = bodies()
    array = b"[" + b",".join(sent[:8]) + b"]"

    async def run():
        pool = await started(1)
        try:
            many = await asyncio.gather(
                *(answer(pool, "one", data, who) for data in sent for who in (PIPELINE, PERSON))
            )
            return many, await answer(pool, "array", array), await answer(pool, "array", b"{}")
        finally:
            pool.close()

    many, array_found, refused = asyncio.run(run())

    expected = [
        [check_one(data, who, 1_700_000_000_000)] for data in sent for who in (PIPELINE, PERSON)
    ]
    assert many == expected
    assert array_found == check_many(array, PIPELINE, 1_700_000_000_000, in_lines=False)
    assert refused.status == 400


def test_lines_that_are_no_json_are_refused_one_by_one():
    """The lines around them are taken."""
    good = json.dumps(attempt()).encode()

    found = check_many(b"\n".join([good, b"{", good]), PIPELINE, 1, in_lines=True)

    assert [type(one) for one in found] == [Prepared, Refusal, Prepared]


def test_too_many_events_are_refused_together():
    """A thousand and one."""
    with pytest.raises(LedgerError) as caught:
        check_many(b"[" + b"1," * 1_000 + b"1]", PIPELINE, 1, in_lines=False)
    assert caught.value.status == 413


def test_a_checker_that_is_killed_takes_no_request_along():
    """Each is answered: prepared by another checker or in here, or 503; a new one is started."""

    async def run():
        pool = await started(2)
        try:
            first = pool.processes[0]
            os.kill(first, signal.SIGSTOP)
            waiting = [
                asyncio.ensure_future(answer(pool, "one", json.dumps(attempt()).encode()))
                for _ in range(50)
            ]
            await asyncio.sleep(0.1)
            os.kill(first, signal.SIGKILL)
            found = await asyncio.wait_for(asyncio.gather(*waiting), 30)
            await readiness(pool, 2)
            return found, await answer(pool, "one", json.dumps(attempt()).encode())
        finally:
            pool.close()

    found, after = asyncio.run(run())

    assert all(isinstance(one[0], Prepared) for one in found)
    assert isinstance(after[0], Prepared)


def test_a_checker_that_is_silent_is_killed(monkeypatch):
    """The only one: whoever waits for it is told to send again."""
    monkeypatch.setattr(checkers_module, "_SILENT_S", 0.2)

    async def run():
        pool = await started(1)
        try:
            os.kill(pool.processes[0], signal.SIGSTOP)
            return await asyncio.wait_for(answer(pool, "one", json.dumps(attempt()).encode()), 30)
        finally:
            pool.close()

    found = asyncio.run(run())

    assert isinstance(found, Refusal)
    assert (found.status, dict(found.headers)[b"retry-after"]) == (503, b"1")


def test_no_process_is_left_when_the_pool_is_closed():
    """Also none that is stopped in its tracks."""

    async def run():
        pool = await started(2)
        pids = pool.processes
        os.kill(pids[0], signal.SIGSTOP)
        pool.close()
        return pids

    for pid in asyncio.run(run()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_server_whose_checker_is_killed_goes_on(house):
    """Events and batches before, during and after; each recorded once."""
    with serving(house, checkers=1) as service:
        wait_until(lambda: checker_of() is not None)
        before = service.post(attempt())
        os.kill(checker_of(), signal.SIGKILL)
        sent = [attempt() for _ in range(5)]
        answers = [until_recorded(service, one) for one in sent]
        batch = service.post([attempt() for _ in range(3)], path="/v1/events:batch")
        size = service.size

    assert before.status_code == 201
    assert [one.status_code for one in answers] == [201] * 5
    assert [one["status"] for one in batch.json()["results"]] == [201] * 3
    assert size == 9


def until_recorded(service, request):
    while True:
        found = service.post(request)
        if found.status_code != 503:
            return found
        time.sleep(0.05)


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def checker_of():
    """The child of this process that checks requests, once it is there."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_bytes().rsplit(b")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"api.checker" in words and parent == os.getpid():
            return int(process.name)
    return None
