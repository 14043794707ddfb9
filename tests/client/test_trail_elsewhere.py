# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls that end elsewhere than they began: in another context, task or process, or not at all."""

import asyncio
import contextvars
import os
import pickle

import pytest
from recorded import MODEL, entries, types

from sealtrail import AuditUnavailable, OutcomeLate, ReceiptInvalid, Refused
from sealtrail.acting import acting, current_call
from sealtrail.journal import files, read, unanswered
from sealtrail.verify.errors import Unreadable
from sealtrail.watched import handed_on

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def pieces(trail, person):
    """A generator that calls a model, as an answer that is streamed by a server."""
    with trail.acting_for(person), trail.gen(model=MODEL) as call:
        yield b"one"
        call.output(b"one, two")
        yield b"two"


def elsewhere(generator):
    """Take all pieces, each in a context of its own: so do servers, with threads."""
    return [piece for _ in range(3) if (piece := step(generator)) is not None]


def step(generator):
    return contextvars.copy_context().run(next, generator, None)


def test_a_generator_that_is_read_in_other_contexts_has_its_outcome(service, trail):
    """Starlette takes each piece in a copy of the context: the outcome is recorded, for the same
    person."""
    assert elsewhere(pieces(trail, "emp-7")) == [b"one", b"two"]

    assert types(service) == ["GEN_ATTEMPT", "GEN"]
    assert trail.calculate_session_cost().calls == 1


def test_a_generator_that_is_left_in_another_context_has_its_outcome(service, trail):
    """Who closes it is not where it began: a GEN_ERROR, and no other exception."""
    generator = pieces(trail, "emp-7")
    step(generator)
    contextvars.copy_context().run(generator.close)

    assert types(service) == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_generators_that_take_turns_leave_nobody_behind(service, trail):
    """The first to end is not the last that began: afterwards nobody acts, and no call is open."""
    first, second = pieces(trail, "emp-7"), pieces(trail, "emp-8")
    next(first), next(second)
    assert [list(first), list(second)] == [[b"two"], [b"two"]]

    assert (acting(), current_call()) == (None, None)
    assert types(service) == ["GEN_ATTEMPT", "GEN_ATTEMPT", "GEN", "GEN"]


def test_an_outcome_is_recorded_for_whom_the_attempt_was(service, trail):
    """A hook that ends a call while somebody else acts, or nobody, does not change whose it is."""
    with trail.acting_for("emp-7", session="s-7"):
        call = trail.gen(model=MODEL)
        call.start()
    call.output(b"x")
    with trail.acting_for("emp-8", session="s-8"):
        call.finish()

    assert types(service) == ["GEN_ATTEMPT", "GEN"]
    assert trail.calculate_session_cost("s-7").calls == 1


def test_a_task_that_is_cancelled_while_its_attempt_is_recorded_has_an_outcome(service, trail):
    """Nobody waits for the attempt any more, but it is on record: so is that it was cancelled."""

    async def call():
        async with trail.gen(model=MODEL):
            raise AssertionError

    async def cancelled():
        task = asyncio.create_task(call())
        await asyncio.sleep(0)  # It waits for the thread that records.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with trail.acting_for("emp-7"):
        asyncio.run(cancelled())
    assert types(service) == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert entries(service)[-1]["body"]["error"]["code"] == "cancelled"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_process_that_was_forked_records_on_its_own(service, trail, journal):
    """Own connections, numbers and journal: no answer is another's, and each chain holds."""

    def work():
        for number in range(3):
            with trail.acting_for("emp-7"), trail.gen(model=MODEL) as call:
                call.output(b"%d" % number)

    work()
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    work()
    os.waitpid(child, 0)

    assert types(service).count("GEN") == 9
    kept = [[line.n for line in read(path)] for path in files(journal.directory)]
    assert sorted(map(len, kept)) == [6, 12]
    assert len({entry["source"]["id"] for entry in entries(service)}) == 2


def test_what_cannot_be_sent_uses_no_number_and_waits_for_nothing(service, trail, journal):
    """Half a character in a prompt is refused here: the source has no gap, the journal no event."""
    with trail.acting_for("emp-7"):
        with pytest.raises(Unreadable), trail.gen(model=MODEL, prompt="\ud800"):
            raise AssertionError
        trail.ingest(b"x", rights="OWNED")

    assert [entry["source"]["n"] for entry in entries(service)] == [0]
    assert unanswered(journal.directory) == []


def test_a_number_that_the_ledger_has_already_is_not_tried_for_ever(service, trail):
    """Its answer was lost, and then somebody refused: the next event but one goes through."""
    with trail.acting_for("emp-7"):
        trail.ingest(b"x", rights="OWNED")
        trail._sequence.give_back(0)
        with pytest.raises(Refused, match="source-conflict"):
            trail.ingest(b"y", rights="OWNED")
        trail.ingest(b"y", rights="OWNED")

    assert types(service) == ["INGEST", "INGEST"]


@pytest.mark.parametrize("fact", [{"finish_reason": 7.5}, {"finish_reason": ["no", "text"]}])
def test_an_outcome_that_cannot_be_recorded_as_it_was_said_is_an_error(service, trail, fact):
    """The program hears why; the attempt does not stay open until its deadline."""

    def work():
        with trail.acting_for("emp-7"), trail.gen(model=MODEL) as call:
            call.output(b"x")
            call.fact(**fact)

    with pytest.raises((Refused, Unreadable)):
        work()

    assert types(service) == ["GEN_ATTEMPT", "GEN_ERROR"]
    assert entries(service)[-1]["body"]["error"]["code"] == "not-recordable"


def test_an_exception_that_has_no_words_is_recorded_and_goes_on(service, trail):
    """Its own `__str__` fails: no reason to lose the outcome, or to raise something else."""

    class Mute(Exception):  # noqa: N818 - what it is called is the point
        def __str__(self):
            raise RuntimeError

    with pytest.raises(Mute), trail.acting_for("emp-7"), trail.gen(model=MODEL):
        raise Mute

    assert entries(service)[-1]["body"]["error"]["code"] == "Mute"


def test_a_cost_may_be_a_float(service, trail):
    """As a parameter may: it is taken as it prints."""
    with trail.acting_for("emp-7"), trail.gen(model=MODEL) as call:
        call.output(b"x")
        call.usage(cost=0.04, currency="EUR")

    assert entries(service)[-1]["body"]["usage"]["cost"] == "0.04"


def test_a_decorated_function_may_take_any_keyword(service, trail):
    """A seed is recorded, and a prompt sealed, whether or not the function names them."""

    @trail.generates(model=MODEL)
    def paint(**how):
        return str(how)

    with trail.acting_for("emp-7"):
        paint(prompt="a lighthouse", seed=7)

    attempt = entries(service)[0]
    assert attempt["body"]["params"] == {"seed": "7"}
    assert len(attempt["_sd"]) == 2  # the person and the prompt


def test_a_function_that_yields_is_refused_where_it_is_decorated(trail):
    """Its pieces would go on before the outcome is on record."""
    with pytest.raises(TypeError, match="yields"):

        @trail.generates(model=MODEL)
        def paint(prompt):
            yield prompt


@pytest.mark.parametrize(
    "error",
    [
        AuditUnavailable("away", attempts=3, status=503, event_id="e", record_key=b"k"),
        Refused(422, {"code": "field-rule", "errors": [{"pointer": "/body", "rule": "missing"}]}),
        ReceiptInvalid("no", check="leaf"),
    ],
)
def test_errors_survive_the_way_out_of_a_pool_of_processes(error):
    """They are pickled there: one that is not unpickled stops the pool for good."""
    with pytest.raises(type(error)) as caught, handed_on():
        raise error
    copy = pickle.loads(pickle.dumps(caught.value))

    assert type(copy) in type(error).__mro__
    assert type(copy).__module__ == "sealtrail.errors"
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_a_late_outcome_survives_it_with_its_receipt(trail):
    """The receipt is what proves that it was late."""
    with trail.acting_for("emp-7"):
        receipt = trail.ingest(b"x", rights="OWNED")
    copy = pickle.loads(pickle.dumps(OutcomeLate(receipt, record_key=b"k")))

    assert (copy.receipt, copy.record_key) == (receipt, b"k")
