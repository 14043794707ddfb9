# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that records what it does with models, against a real ledger over HTTP."""

import asyncio
import threading
from decimal import Decimal

import pytest
from recorded import MODEL, PROMPT, entries, types

from sealtrail import AuditUnavailable, OutcomeLate, Refused, Trail
from sealtrail.calls import NothingNamed
from sealtrail.content import digest_text
from sealtrail.journal import Journal, read, unanswered

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_a_call_is_on_record_before_the_model_runs_and_its_output_before_it_goes_on(service, trail):
    """Inside the block the attempt is in the log; behind it, the outcome with the digest."""
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, prompt=PROMPT) as call:
        assert types(service) == ["GEN_ATTEMPT"]
        asset = call.output(b"\x89PNG\r\n\x1a\nnot quite", asset_id="asset-1")
    assert asset == "asset-1"
    attempt, outcome = entries(service)
    assert outcome["type"] == "GEN"
    assert outcome["body"]["outputs"][0]["mime"] == "image/png"
    assert outcome["links"][0]["id"] == attempt["event_id"]
    assert PROMPT not in str(attempt)
    assert call.receipt.signature_checked


def test_an_exception_is_recorded_and_goes_on_to_the_caller(service, trail):
    """GEN_ERROR has the class as a code; the words of the exception are sealed."""
    with (
        pytest.raises(RuntimeError, match="secret words"),
        trail.acting_for("emp-7"),
        trail.gen(model=MODEL),
    ):
        raise RuntimeError("secret words")
    outcome = entries(service)[-1]
    assert outcome["type"] == "GEN_ERROR"
    assert outcome["body"]["error"]["code"] == "RuntimeError"
    assert "secret words" not in str(outcome)


def test_half_a_character_costs_no_outcome(service, trail):
    """Texts are cut, and names of files are not always UTF-8: the call ends on record anyway."""
    half = "cut \ud83d"
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, prompt=PROMPT) as call:
        call.output(half)
    with (
        pytest.raises(OSError, match="cut"),
        trail.acting_for("emp-7"),
        trail.gen(model=MODEL, prompt=PROMPT),
    ):
        raise OSError(half)
    assert types(service) == ["GEN_ATTEMPT", "GEN", "GEN_ATTEMPT", "GEN_ERROR"]


def test_a_call_that_names_nothing_is_an_error(service, trail):
    """The program forgot to name its output: it gets an exception instead of going on."""
    with pytest.raises(NothingNamed), trail.acting_for("emp-7"), trail.gen(model=MODEL):
        pass
    assert types(service) == ["GEN_ATTEMPT", "GEN_ERROR"]


def test_a_refusal_has_its_code_and_sealed_words(service, trail):
    """`deny` records GEN_DENY with what the person was told, committed."""
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, prompt=PROMPT) as call:
        call.deny("no-forged-documents", text="We do not paint passports.", rule_ids=["r-7"])
    outcome = entries(service)[-1]
    assert outcome["type"] == "GEN_DENY"
    assert outcome["body"]["refusal_reason_code"] == "no-forged-documents"
    assert "passports" not in str(outcome)


def test_calls_inside_a_call_are_its_children(service, trail):
    """Same trace, numbered, linked by the parent's leaf; also from another task's context."""
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, operation="chat") as root:
        for _ in range(2):
            with trail.gen(model=MODEL) as child:
                child.output("done")
        root.output("two pictures")
    attempts = [one for one in entries(service) if one["type"] == "GEN_ATTEMPT"]
    top, *children = attempts
    assert [one["trace"]["call_index"] for one in children] == [0, 1]
    for one in children:
        assert one["trace"]["trace_id"] == top["trace"]["trace_id"]
        assert one["trace"]["parent_event"] == top["event_id"]
        assert one["links"] == [root.attempt.link("parent-call")]


def test_the_decorator_records_a_function(service, trail):
    """The prompt is sealed, seed and steps are recorded, a list is several outputs."""

    @trail.generates(model=MODEL)
    def paint(prompt, *, seed=7, steps=20, mood="calm"):
        del mood
        return [f"{prompt} {seed} {steps}".encode(), b"another"]

    with trail.acting_for("emp-7"):
        assert len(paint(PROMPT, seed=2**64 - 1)) == 2
    attempt, outcome = entries(service)
    assert attempt["body"]["params"] == {"seed": str(2**64 - 1), "steps": 20}
    assert len(outcome["body"]["outputs"]) == 2


def test_coroutines_keep_their_own_persons(service, trail):
    """Fifty tasks at once: each event is committed to the person of its own task."""

    @trail.generates(model=MODEL)
    async def paint(prompt):
        await asyncio.sleep(0)
        return prompt.encode()

    async def one(number):
        async with trail.acting_for(f"emp-{number}"):
            return await paint(f"picture {number}")

    async def all_of_them():
        return await asyncio.gather(*(one(number) for number in range(20)))

    assert asyncio.run(all_of_them())[3] == b"picture 3"
    found = types(service)
    assert (found.count("GEN_ATTEMPT"), found.count("GEN")) == (20, 20)
    persons = {
        service.house.book.vault.open(one["event_id"]).values["actor.subject_id"]
        for one in entries(service)
    }
    assert persons == {f"emp-{number}" for number in range(20)}


def test_a_cancelled_task_leaves_no_open_attempt(service, trail):
    """The outcome of a cancelled call is GEN_ERROR `cancelled`."""

    async def cancelled():
        async with trail.acting_for("emp-7"):
            started = asyncio.Event()

            async def call():
                async with trail.gen(model=MODEL):
                    started.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(call())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    outcome = entries(service)[-1]
    assert (outcome["type"], outcome["body"]["error"]["code"]) == ("GEN_ERROR", "cancelled")


def test_without_a_ledger_the_model_never_runs(tmp_path):
    """Nobody listens: AuditUnavailable before the first line of the block, key kept for a retry."""
    journal = Journal(root=tmp_path, user="tester")
    ran = []
    with (
        Trail("http://127.0.0.1:9", "t", trust=False, journal=journal, attempts=1) as trail,
        pytest.raises(AuditUnavailable),
        trail.acting_for("emp-7"),
        trail.gen(model=MODEL),
    ):
        ran.append(True)
    assert not ran
    assert len(unanswered(tmp_path)) == 1


def test_a_late_outcome_is_withheld(service, trail):
    """Where the ledger has closed the attempt itself, leaving the block raises OutcomeLate."""
    from anchoring.overdue import Sweep
    from ledger import clock

    def paint():
        with trail.acting_for("emp-7"), trail.gen(model=MODEL, deadline_s=1) as call:
            Sweep(service.house.book).run(clock.now_ms() + 5_000)
            call.output(b"too late")

    with pytest.raises(OutcomeLate):
        paint()
    assert types(service) == ["GEN_ATTEMPT", "GEN_ERROR", "OUTCOME_LATE"]


def test_numbers_of_the_source_have_no_gaps(service, trail):
    """A refused event gives its number to the next one, also among several threads."""

    def work():
        for number in range(5):
            with trail.acting_for("emp-7"):
                if number % 2:
                    with pytest.raises(Refused):
                        trail.record("EXPORT", "x y", {})
                else:
                    trail.ingest(b"%d" % threading.get_ident(), rights="OWNED")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with trail.acting_for("emp-7"):
        trail.ingest(b"last", rights="OWNED")
    numbers = sorted(entry["source"]["n"] for entry in entries(service))
    assert numbers == list(range(13))


def test_the_stages_from_asset_to_export(service, trail, tmp_path):
    """INGEST, TRAIN and EXPORT by one line each, with licences, weights and recipients."""
    weights, code = tmp_path / "model.bin", tmp_path / "train.py"
    weights.write_bytes(b"weights")
    code.write_text("print()")
    with trail.acting_for("emp-2"):
        asset = trail.ingest(code, rights="licence:getty-118", name="train.py")
        trail.ingest(b"an upload", rights="unknown", personal=True, asset_id="upload-1")
        inputs = [{"dataset_id": "d-1", "manifest_digest": "sha256:" + "1" * 64, "count": 1}]
        plan = {"type": "LORA", "inputs": inputs, "output_model": "urn:cap:model:acme:p"}
        with trail.train(code=code, **plan) as run:
            run.produced(weights)
        trail.export(b"bytes", asset_id="upload-1", to="cdn/prod", recipient="a customer")
    found = entries(service)
    assert [one["type"] for one in found] == [
        "INGEST",
        "INGEST",
        "TRAIN_STARTED",
        "TRAIN",
        "EXPORT",
    ]
    assert found[0]["body"]["rights"] == {"basis": "LICENSED", "license": "getty-118"}
    assert found[0]["aggregate"]["id"] == asset_id_of(asset)
    assert "sha256" not in found[1]["body"]["asset"]
    assert found[3]["body"]["train"]["weights"]["files"][0]["path"] == "model.bin"
    assert "customer" not in str(found[4])


def test_a_text_is_the_name_of_a_file_where_files_are_meant(service, trail, tmp_path):
    """It is the file's digest that is on record, not that of its name; no such file, no entry."""
    path = tmp_path / "7.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n seven")
    digest = digest_text(path.read_bytes())
    with trail.acting_for("emp-7"):
        asset = asset_id_of(trail.ingest(str(path), rights="OWNED"))
        trail.ingest("sha256:" + "1" * 64, rights="OWNED")
        trail.export(str(path), asset_id=asset, to="shop")
        with trail.gen(model=MODEL, inputs=[str(path)]) as call:
            call.output("a text, as a model puts it out")
        for record in (trail.ingest, trail.gen):
            with pytest.raises(FileNotFoundError):
                _named(record, str(tmp_path / "8.png"))
    first, second, left, attempt, outcome = entries(service)
    assert first["body"]["asset"] == {
        "type": "image",
        "mime": "image/png",
        "sha256": digest,
        "size": "14",
    }
    assert second["body"]["asset"]["sha256"] == "sha256:" + "1" * 64
    assert left["body"]["asset_sha256"] == digest
    assert attempt["body"]["inputs"] == [{"type": "image", "role": "source"}]
    assert outcome["body"]["outputs"][0]["mime"] == "text/plain"


def _named(record, name):
    if record.__name__ == "gen":
        return record(model=MODEL, inputs=[name])
    return record(name, rights="OWNED")


def asset_id_of(receipt):
    from sealtrail.verify import canonical

    return canonical.decode(receipt.entry)["aggregate"]["id"]


def test_a_session_costs_the_exact_sum_of_its_calls(trail):
    """Decimals, per currency; a call without a price is counted apart; other sessions are not."""
    for session, cost, currency in [
        ("s-1", "0.1", "EUR"),
        ("s-1", "0.2", "EUR"),
        ("s-1", "3", "USD"),
        ("s-2", "9", "EUR"),
    ]:
        with trail.acting_for("emp-7", session=session), trail.gen(model=MODEL) as call:
            call.output(b"x")
            call.usage(cost=cost, currency=currency, images=1)
    with trail.acting_for("emp-7", session="s-1"), trail.gen(model=MODEL) as call:
        call.output(b"x")
    cost = trail.calculate_session_cost("s-1")
    assert cost.by_currency == {"EUR": Decimal("0.3"), "USD": Decimal(3)}
    assert (cost.calls, cost.unpriced, cost.images) == (4, 1, 3)
    assert trail.calculate_session_cost().by_currency["EUR"] == Decimal("9.3")


def test_receipts_are_in_the_journal_and_nothing_personal_is(trail, journal):
    """One chained line for each receipt; no prompt, person or key stays in the folder."""
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, prompt=PROMPT) as call:
        call.output(b"x")
    lines = list(read(journal.path))
    assert [line.type for line in lines] == ["GEN_ATTEMPT", "GEN"]
    assert lines[1].event_id == call.receipt.event_id
    text = journal.path.read_text()
    assert PROMPT not in text
    assert "emp-7" not in text
    assert unanswered(journal.directory) == []
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_trail_without_trust_says_how_to_get_it(monkeypatch):
    """Neither argument nor environment: a ValueError that names the variable."""
    monkeypatch.delenv("SEALTRAIL_TRUST", raising=False)
    with pytest.raises(ValueError, match="SEALTRAIL_TRUST"):
        Trail("http://127.0.0.1:9", "t")
