# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycles: what may follow what, against a second description that shares no line with them."""

import re
from typing import Any

import pytest
from event_bodies import LEAST, TIMEOUT
from event_values import D
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from own_bodies import ANCHOR, FINAL, INTERIM, OWN, REPORT

from ledger import lifecycle
from ledger.errors import Conflict
from ledger.lifecycle import Asset, OutOfOrder, Rewritten, decide, fresh

DAY = ANCHOR["day"]
LATE = OWN["OUTCOME_LATE"]
LIVES = {
    "Asset": ["INGEST", "ASSET_WITHDRAWN"],
    "TrainingRun": ["TRAIN_STARTED", "TRAIN", "TRAIN_FAILED"],
    "Generation": ["GEN_ATTEMPT", "MODERATION", "GEN", "GEN_DENY", "GEN_ERROR"],
    "Export": ["EXPORT"],
}
PRESENT = {"Asset/picture-1": Asset.born("picture-1")}


class Stream:
    """One stream, as the writer sees it."""

    def __init__(self, aggregate: str, id_: str = "x", others: Any = None):
        self.state = fresh(aggregate, id_)
        self.others = others or {}

    def send(self, type_: str, body: Any = None, *, by_ledger: bool = False) -> str:
        """Record an event and return the type under which it is recorded."""
        body = LEAST[type_] if body is None else body
        decision = decide(self.state, type_, 1, body, self.others, by_ledger=by_ledger)
        if decision is not None:
            type_, body = decision.type, decision.body
        self.state = self.state.after(type_, body)
        return type_

    def own(self, type_: str, body: Any) -> str:
        return self.send(type_, body, by_ledger=True)

    def refuses(self, type_: str, body: Any = None, *, by_ledger: bool = False) -> str:
        before = self.state
        with pytest.raises(OutOfOrder) as refusal:
            self.send(type_, body, by_ledger=by_ledger)

        assert self.state is before
        assert refusal.value.status == 409
        assert refusal.value.facts == {
            "aggregate": before.kind,
            "state": before.phase,
            "event": type_,
        }
        assert [error.rule for error in refusal.value.errors] == [refusal.value.problem]
        return refusal.value.problem


#: What a Generation's history may be: A attempt, M moderation, O a client's outcome, T the ledger's
#: own timeout, L a late outcome. This line is the second description.
HISTORY = re.compile(r"(A M* (O M* | T M* (L M*)?)?)?", re.VERBOSE)


class GenerationLife(RuleBasedStateMachine):
    """Sends anything at any time; a regular expression says what must come of it."""

    def __init__(self):
        super().__init__()
        self.stream = Stream("Generation")
        self.history = ""

    def attempt_to(self, letter: str, type_: str, body: Any, *, by_ledger: bool = False) -> None:
        late = letter == "O" and "T" in self.history
        wanted = self.history + ("L" if late else letter)
        if HISTORY.fullmatch(wanted):
            recorded = self.stream.send(type_, body, by_ledger=by_ledger)
            assert recorded == ("OUTCOME_LATE" if late else type_)
            self.history = wanted
        else:
            self.stream.refuses(type_, body, by_ledger=by_ledger)

    @rule()
    def a_client_attempts(self):
        self.attempt_to("A", "GEN_ATTEMPT", LEAST["GEN_ATTEMPT"])

    @rule()
    def a_client_moderates(self):
        self.attempt_to("M", "MODERATION", LEAST["MODERATION"])

    @rule(type_=st.sampled_from(["GEN", "GEN_DENY", "GEN_ERROR"]))
    def a_client_sends_an_outcome(self, type_):
        self.attempt_to("O", type_, LEAST[type_])

    @rule()
    def the_ledger_closes_it(self):
        self.attempt_to("T", "GEN_ERROR", TIMEOUT, by_ledger=True)

    @rule()
    def a_stored_late_outcome_is_folded(self):
        self.attempt_to("L", "OUTCOME_LATE", LATE, by_ledger=True)

    @invariant()
    def it_has_a_version_for_each_event(self):
        assert self.stream.state.version == len(self.history)

    @invariant()
    def it_has_at_most_one_outcome(self):
        outcome = self.stream.state.outcome
        assert (outcome is not None) == bool(re.search("[OT]", self.history))


TestGenerationLife = GenerationLife.TestCase


def test_a_generation_begins_with_its_attempt_and_ends_once():
    """Attempt, moderation before and after, one outcome."""
    stream = Stream("Generation")

    for type_ in ("MODERATION", "GEN", "GEN_DENY", "GEN_ERROR"):
        assert stream.refuses(type_) == "out-of-order"
    for type_ in ("GEN_ATTEMPT", "MODERATION", "GEN", "MODERATION"):
        assert stream.send(type_) == type_
    for type_ in ("GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR"):
        assert stream.refuses(type_) == "out-of-order"


@pytest.mark.parametrize("type_", ["GEN", "GEN_DENY", "GEN_ERROR"])
def test_an_outcome_after_the_ledgers_own_timeout_is_recorded_as_late_once(type_):
    """Nothing that happened is without an entry, and nothing is an outcome twice."""
    stream = Stream("Generation")
    stream.send("GEN_ATTEMPT")
    stream.own("GEN_ERROR", TIMEOUT)

    decision = decide(stream.state, type_, 1, LEAST[type_], {})

    claimed = {"type": type_, "schema": 1, "body": LEAST[type_]}
    assert decision == Rewritten("OUTCOME_LATE", 1, {"claimed": claimed})
    assert stream.send(type_) == "OUTCOME_LATE"
    assert stream.state.phase == "late"
    assert stream.refuses(type_) == "out-of-order"
    assert stream.send("MODERATION") == "MODERATION"


def test_a_late_picture_is_recorded_even_if_its_asset_is_known():
    """A late outcome gives birth to nothing, so no birth can stand in its way."""
    stream = Stream("Generation", others=PRESENT)
    stream.send("GEN_ATTEMPT")
    stream.own("GEN_ERROR", TIMEOUT)

    assert stream.send("GEN") == "OUTCOME_LATE"


def test_the_ledger_closes_no_attempt_that_has_its_outcome():
    """The sweep and the outcome met: the outcome was first."""
    stream = Stream("Generation")
    stream.send("GEN_ATTEMPT")
    stream.send("GEN_DENY")

    assert stream.refuses("GEN_ERROR", TIMEOUT, by_ledger=True) == "out-of-order"


def test_an_attempt_that_was_closed_is_not_closed_again():
    """Two sweeps met; the second one is refused, not recorded as late."""
    stream = Stream("Generation")
    stream.send("GEN_ATTEMPT")
    stream.own("GEN_ERROR", TIMEOUT)

    assert stream.refuses("GEN_ERROR", TIMEOUT, by_ledger=True) == "out-of-order"


def test_an_output_is_a_new_asset():
    """A second birth of one asset would leave two origins of one picture."""
    stream = Stream("Generation", others=PRESENT)
    stream.send("GEN_ATTEMPT")

    assert stream.refuses("GEN") == "asset-exists"
    with pytest.raises(OutOfOrder) as refusal:
        stream.send("GEN")
    assert refusal.value.errors[0].pointer == "/body/outputs/0/asset_id"


def test_no_refusal_holds_an_id_of_the_request():
    """An asset's id may be somebody's name."""
    others = {"Asset/zoe": Asset.born("zoe")}
    stream = Stream("Generation", "zoe-1", others)
    stream.send("GEN_ATTEMPT")

    with pytest.raises(OutOfOrder) as refusal:
        stream.send("GEN", {"outputs": [{"asset_id": "zoe", "sha256": D, "mime": "image/png"}]})

    assert "zoe" not in repr((str(refusal.value), refusal.value.errors, refusal.value.facts))


def test_an_asset_is_ingested_once_and_withdrawn_once():
    """Withdrawal needs an asset; what is withdrawn never comes back under its name."""
    stream = Stream("Asset")

    assert stream.refuses("ASSET_WITHDRAWN") == "asset-unknown"
    stream.send("INGEST")
    assert stream.refuses("INGEST") == "asset-exists"
    stream.send("ASSET_WITHDRAWN")
    assert stream.refuses("ASSET_WITHDRAWN") == "asset-withdrawn"
    assert stream.refuses("INGEST") == "asset-exists"


def test_an_asset_born_as_an_output_is_withdrawn_but_not_ingested():
    """Its birth is in the Generation's stream, so its own stream is still empty."""
    stream = Stream("Asset")
    stream.state = Asset.born("x")

    assert stream.state.version == 0
    assert stream.refuses("INGEST") == "asset-exists"
    stream.send("ASSET_WITHDRAWN")
    assert (stream.state.version, stream.state.phase) == (1, "withdrawn")


def test_only_an_asset_that_is_present_is_exported():
    """Unknown and withdrawn assets stay in the house, and the answer says which it is."""
    asset = Stream("Asset", "picture-1")
    asset.state = Asset.born("picture-1")
    export = Stream("Export")

    assert export.refuses("EXPORT") == "asset-unknown"
    export.others = {"Asset/picture-1": fresh("Asset", "picture-1")}
    assert export.refuses("EXPORT") == "asset-unknown"
    asset.send("ASSET_WITHDRAWN")
    export.others = {"Asset/picture-1": asset.state}
    assert export.refuses("EXPORT") == "asset-withdrawn"
    export.others = PRESENT
    export.send("EXPORT")
    assert export.refuses("EXPORT") == "out-of-order"


def start(**train: Any) -> Stream:
    stream = Stream("TrainingRun")
    stream.send("TRAIN_STARTED", {"train": LEAST["TRAIN_STARTED"]["train"] | train})
    return stream


def finish(**train: Any) -> dict[str, Any]:
    return {"train": LEAST["TRAIN"]["train"] | train}


def test_a_run_starts_once_and_ends_once():
    """No result without a start, and no second result."""
    for last in ("TRAIN", "TRAIN_FAILED"):
        stream = Stream("TrainingRun")
        assert stream.refuses(last) == "out-of-order"
        stream.send("TRAIN_STARTED")
        assert stream.refuses("TRAIN_STARTED") == "out-of-order"
        stream.send(last)
        for type_ in LIVES["TrainingRun"]:
            assert stream.refuses(type_) == "out-of-order"


OTHER = "sha256:" + "cd" * 32
INPUT = LEAST["TRAIN"]["train"]["inputs"][0]


@pytest.mark.parametrize(
    ("train", "name"),
    [
        ({"inputs": [INPUT | {"manifest_digest": OTHER}]}, "inputs"),
        ({"inputs": [INPUT | {"dataset_id": "other"}]}, "inputs"),
        ({"inputs": [INPUT | {"smt_root": OTHER}]}, "inputs"),
        ({"inputs": [INPUT, INPUT | {"dataset_id": "more"}]}, "inputs"),
        ({"code_digest": OTHER}, "code_digest"),
        ({"output_model": "m/2"}, "output_model"),
        ({"type": "PRETRAIN"}, "type"),
        ({"base_model": "m/0"}, "base_model"),
        ({"seed": "7"}, "seed"),
    ],
)
def test_a_result_names_what_its_start_named(train, name):
    """What went in was committed before anybody knew what would come out."""
    stream = start()

    with pytest.raises(lifecycle.TrainingDiffers) as refusal:
        stream.send("TRAIN", finish(**train))

    assert name in str(refusal.value)
    assert refusal.value.errors[0].pointer == f"/body/train/{name}"
    stream.send("TRAIN")


def test_a_result_may_list_its_inputs_in_another_order():
    """The promise is which sets, which code, which model; what is measured comes at the end."""
    more = INPUT | {"dataset_id": "more", "smt_root": D}
    stream = start(inputs=[INPUT, more], seed="7", hardware="one")

    stream.send("TRAIN", finish(inputs=[more, INPUT], seed="7", hardware="two", metrics_digest=D))

    assert stream.state.phase == "ended"


def test_a_result_may_not_leave_out_what_its_start_promised():
    """A seed that is named at the start and forgotten at the end was perhaps another one."""
    stream = start(seed="7")

    assert stream.refuses("TRAIN") == "training-differs"


def test_a_day_is_reported_and_then_anchored_once():
    """The checkpoint that is stamped covers what is said about the day."""
    stream = Stream("AnchorDay", DAY)

    stream.own("ANCHOR", INTERIM)
    assert stream.refuses("ANCHOR", ANCHOR, by_ledger=True) == "out-of-order"
    stream.own("COMPLETENESS_REPORT", REPORT)
    assert stream.refuses("COMPLETENESS_REPORT", REPORT, by_ledger=True) == "out-of-order"
    stream.own("ANCHOR", INTERIM | {"to_size": 10})
    stream.own("ANCHOR", ANCHOR)
    assert stream.refuses("ANCHOR", ANCHOR, by_ledger=True) == "out-of-order"
    stream.own("ANCHOR", INTERIM | {"to_size": 11})


def test_a_day_is_reported_for_good_once_and_after_its_first_report():
    """Before its anchor or after it; two processes make one final report."""
    stream = Stream("AnchorDay", DAY)

    assert stream.refuses("COMPLETENESS_REPORT", FINAL, by_ledger=True) == "out-of-order"
    stream.own("COMPLETENESS_REPORT", REPORT)
    stream.own("ANCHOR", ANCHOR)
    stream.own("COMPLETENESS_REPORT", FINAL)
    assert stream.refuses("COMPLETENESS_REPORT", FINAL, by_ledger=True) == "out-of-order"
    assert stream.refuses("COMPLETENESS_REPORT", REPORT, by_ledger=True) == "out-of-order"


def test_two_processes_do_not_record_one_interim_anchor_twice():
    """A range's interim anchor is known by its end."""
    stream = Stream("AnchorDay", DAY)
    stream.own("ANCHOR", INTERIM)

    assert stream.refuses("ANCHOR", INTERIM, by_ledger=True) == "out-of-order"


def test_a_silent_authority_is_recorded_once_for_each_anchor():
    """Not once for each try."""
    failed = OWN["ANCHOR_FAILED"]
    stream = Stream("AnchorDay", DAY)

    stream.own("ANCHOR_FAILED", failed)
    assert stream.refuses("ANCHOR_FAILED", failed, by_ledger=True) == "out-of-order"
    stream.own("ANCHOR_FAILED", failed | {"authority": "tsa two"})
    stream.own("ANCHOR_FAILED", failed | {"anchor": "interim/9"})


def test_an_anchor_belongs_to_the_stream_of_its_day():
    """Else a day could be anchored twice under two names."""
    stream = Stream("AnchorDay", "2026-01-15")

    assert stream.refuses("COMPLETENESS_REPORT", REPORT, by_ledger=True) == "out-of-order"


def test_epochs_are_sealed_one_after_the_other():
    """A missing epoch would hide its entries from the chain's check."""
    stream = Stream("Log", "log")

    assert stream.refuses("EPOCH_SEALED", {"epoch": 1}, by_ledger=True) == "out-of-order"
    stream.own("EPOCH_SEALED", {"epoch": 0})
    stream.own("ACCESS", OWN["ACCESS"])
    assert stream.refuses("EPOCH_SEALED", {"epoch": 0}, by_ledger=True) == "out-of-order"
    stream.own("EPOCH_SEALED", {"epoch": 1})


@given(st.sampled_from(sorted(LIVES)), st.data())
def test_any_order_of_events_is_decided_and_refusals_change_nothing(aggregate, data):
    """No order of a client's events is an accident: each is recorded or refused as a conflict."""
    stream = Stream(aggregate, others={})
    for type_ in data.draw(st.lists(st.sampled_from(LIVES[aggregate]), max_size=8)):
        version = stream.state.version
        try:
            stream.send(type_)
        except Conflict:
            assert stream.state.version == version
        else:
            assert stream.state.version == version + 1


def test_states_are_frozen_and_are_the_catalogues_aggregates():
    """A state that a caller could change would be two truths."""
    for name in lifecycle.AGGREGATES:
        state = fresh(name, "x")

        # All calls of models share their first states: of these nothing depends on the id.
        assert (state.kind, state.version) == (name, 0)
        assert state.id == ("" if name == "Generation" else "x")
        with pytest.raises(AttributeError):
            state.version = 1
