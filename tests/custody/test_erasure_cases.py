# SPDX-License-Identifier: GPL-3.0-or-later
"""An erasure from the request to the end of the last copy, with holds that come in between."""

import dataclasses

import pytest
from custody_desk import BASIS
from house import event_id

from anchoring.fsck import Fsck
from ledger import clock
from ledger.access import forget, revoke
from ledger.erasure.deciding import NotAskedSo, OneEye, SubjectUnknown
from ledger.errors import Forbidden, MalformedEvent, NotFound, Refused
from ledger.vault.construction import wrapping_key
from ledger.vault.generations import KeyHeld
from sealtrail.verify.disclosure import PERSON


def test_a_dry_run_counts_and_records_nothing(desk):
    """What would go, by number and type, and in sentences what stays."""
    size = desk.house.book.reader.head().size

    subject, plan = desk.erasures.plan(person="alice")

    assert plan.body() == {"events": 2, "shared": 1, "identifiers": 1, "artifacts": 0}
    assert plan.json()["goes"]["types"] == {"GEN_ATTEMPT": 2}
    assert any("commitments" in sentence for sentence in plan.json()["stays"])
    assert desk.erasures.plan(ref=str(subject.ref)) == (subject, plan)
    assert desk.house.book.reader.head().size == size


def test_the_whole_way(desk):
    """Asked, approved, pending at once, complete in the night; fsck and the others do not mind."""
    case = desk.ask()
    readable = desk.vault.open(desk.ids[0]).values

    pending = desk.approve(case)
    hidden = desk.vault.open(desk.ids[0])
    finished, moved = desk.erasures.complete(backup_keep_d=30)

    assert (case.state, pending.state) == ("requested", "pending")
    assert readable["prompt.user"] == "a cat"
    assert (dict(hidden.values), hidden.erasures) == ({}, (case.erasure_id,))
    assert [one.erasure_id for one in moved] == [case.erasure_id]
    done = desk.erasures.get(case.erasure_id)
    assert done.state == "complete"
    assert done.requested_by == desk.clerk.credential
    assert done.approved_by == desk.second.credential
    assert done.erased == {"events": 2, "identifiers": 1, "artifacts": 0}
    assert desk.types() == ["ERASURE_REQUESTED", "ERASURE_APPROVED", "ERASURE", "ERASURE"]
    last = desk.house.book.reader.of_topic("ERASURE/1")[0].entry.value["body"]
    assert {one["key"] for one in last["keys_destroyed"]} == set(finished.destroyed)
    assert "backups_expire_at" in last
    shared = desk.vault.open(desk.ids[1])
    assert shared.erasures == (case.erasure_id,)
    assert dict(shared.values) == {"subjects.depicted": "bob"}
    assert desk.vault.open(desk.ids[2]).values["prompt.user"] == "a fish"
    assert desk.vault.subject_of("alice") is None
    assert Fsck(desk.house.book, first_key=desk.house.first_key()).run().damage == []


def test_the_same_person_may_come_back_as_somebody_new(desk):
    """What alice does after her erasure is hers, and can be erased in its turn."""
    first = desk.ask_and_approve()
    late = desk.record("alice", "a horse")
    desk.erasures.complete()

    assert desk.vault.open(late).values["prompt.user"] == "a horse"
    again = desk.ask_and_approve()
    assert again.subject_ref != first.subject_ref
    desk.erasures.complete()
    assert desk.vault.open(late).erasures == (again.erasure_id,)
    assert desk.vault.open(desk.ids[0]).erasures == (first.erasure_id,)


def test_while_held_it_is_deferred_and_it_happens_on_release(desk):
    """ERASURE_DEFERRED names the hold; release moves it on; nobody has to ask again."""
    hold_id = desk.hold(event_ids=[desk.ids[1]])

    case = desk.ask_and_approve()
    desk.erasures.complete()
    kept = desk.vault.open(desk.ids[0]).values
    desk.release(hold_id)
    moved = desk.erasures.advance()
    desk.erasures.complete()

    assert (case.state, case.hold_ids) == ("deferred", (hold_id,))
    assert kept["prompt.user"] == "a cat"
    assert [one.state for one in moved] == ["pending"]
    assert desk.state(case) == "complete"
    assert desk.types() == [
        "LEGAL_HOLD_PLACED", "ERASURE_REQUESTED", "ERASURE_APPROVED", "ERASURE_DEFERRED",
        "LEGAL_HOLD_RELEASED", "ERASURE", "ERASURE",
    ]  # fmt: skip


def test_a_hold_on_a_pending_erasure_makes_it_readable_again(desk):
    """Until the night has destroyed the keys, a hold is in time."""
    case = desk.ask_and_approve()
    gone = desk.vault.open(desk.ids[0]).erasures

    hold_id = desk.hold(subjects=[case.subject_ref])
    finished, moved = desk.erasures.complete()

    assert gone == (case.erasure_id,)
    assert finished.erased == ()
    assert [(one.state, one.hold_ids) for one in moved] == [("deferred", (hold_id,))]
    assert desk.vault.open(desk.ids[0]).values["prompt.user"] == "a cat"
    desk.release(hold_id)
    desk.erasures.complete()
    assert desk.vault.open(desk.ids[0]).erasures == (case.erasure_id,)


def test_who_is_held_is_found_by_the_persons_id_as_long_as_that_lasts(desk):
    """A matter's reader asks by person: for what came before and after the erasure began."""
    desk.ask_and_approve()
    after = desk.record("alice", "a horse")
    pending = desk.vault.find(PERSON, "alice")
    hold_id = desk.hold(event_ids=[desk.ids[0]])
    desk.erasures.complete()

    held = desk.vault.find(PERSON, "alice")
    some = desk.vault.find(PERSON, "alice", limit=2)
    desk.release(hold_id)
    desk.erasures.complete()

    assert pending == [after]
    assert (held, some) == ([*desk.ids[:2], after], desk.ids[:2])
    assert desk.vault.find(PERSON, "alice") == [after]
    assert desk.vault.find(PERSON, "carol") == [desk.ids[2]]


def test_another_hold_is_told_too(desk):
    """While a case waits, its newest ERASURE_DEFERRED names what it waits for now."""
    first = desk.hold(event_ids=[desk.ids[0]])
    case = desk.ask_and_approve()
    other = desk.hold(query={"types": ["GEN_ATTEMPT"]})

    desk.erasures.advance()
    both = desk.erasures.get(case.erasure_id).hold_ids
    desk.release(first)
    desk.erasures.advance()
    desk.erasures.advance()

    assert set(both) == {first, other}
    assert desk.erasures.get(case.erasure_id).hold_ids == (other,)
    assert desk.types().count("ERASURE_DEFERRED") == 3


def test_a_held_key_keeps_everybody_who_would_go_with_it(desk):
    """A hold may name a key; then its generation is not destroyed for an erasure."""
    hold_id = desk.hold(keys=[wrapping_key(desk.house.origin, 1)])

    case = desk.ask_and_approve()
    finished, _ = desk.erasures.complete()

    assert (case.state, case.hold_ids, finished.destroyed) == ("deferred", (hold_id,), ())
    desk.release(hold_id)
    finished, _ = desk.erasures.complete()
    assert wrapping_key(desk.house.origin, 1) in finished.destroyed
    assert desk.state(case) == "complete"


def test_a_held_key_is_not_rotated_away(desk):
    """Rotation would destroy it; it is refused before anything is done, and goes on afterwards."""
    name = wrapping_key(desk.house.origin, 1)
    hold_id = desk.hold(keys=[name])

    with pytest.raises(KeyHeld) as refused:
        desk.vault.rewrap(desk.holds)

    assert refused.value.facts == {"holds": [hold_id]}
    assert desk.house.keys.has(name)
    desk.release(hold_id)
    assert name in desk.vault.rewrap(desk.holds).destroyed


def test_two_erasures_share_one_night(desk):
    """One new generation of keys for all that are pending; and none when nothing is."""
    cases = [desk.ask_and_approve(who) for who in ("alice", "carol")]

    finished, moved = desk.erasures.complete()

    assert {one.erasure_id for one in moved} == {case.erasure_id for case in cases}
    assert finished.generation == 2
    again, nothing = desk.erasures.complete()
    assert (again.generation, again.destroyed, nothing) == (2, (), [])


def die(*_arguments, **_names):
    raise RuntimeError("the process dies here")


@pytest.mark.parametrize("at", ["approve", "begin", "record"])
def test_an_interruption_is_made_good_by_the_next_look(desk, monkeypatch, at):
    """A process that dies between an entry and its deed leaves nothing undone for ever."""
    case = desk.ask()
    place = {
        "approve": (desk.erasures, "advance"),
        "begin": (desk.erasures._vault, "begin_erasure"),
        "record": (desk.erasures, "_completed"),
    }[at]

    def way():
        desk.approve(case)
        desk.erasures.complete()

    with monkeypatch.context() as patched:
        patched.setattr(*place, die)
        with pytest.raises(RuntimeError):
            way()
    desk.erasures.complete()

    assert desk.state(case) == "complete"
    assert desk.vault.open(desk.ids[0]).erasures == (case.erasure_id,)


def test_nothing_is_complete_while_a_key_lives(desk, monkeypatch):
    """ERASURE `complete` is a word about keys: they are asked, one by one."""
    case = desk.ask_and_approve()
    keys = desk.erasures._keys
    attest = keys.attest
    with monkeypatch.context() as patched:
        patched.setattr(
            keys, "attest", lambda name: dataclasses.replace(attest(name), destroyed=None)
        )
        desk.erasures.complete()
    halfway = desk.state(case)
    desk.erasures.advance()

    assert (halfway, desk.state(case)) == ("pending", "complete")


def test_nothing_is_complete_while_a_key_service_could_bring_a_key_back(desk, monkeypatch):
    """A destroyed key may wait for days in its service: until then the erasure is pending."""
    case = desk.ask_and_approve()
    keys = desk.erasures._keys
    attest, soon = keys.attest, clock.rfc3339(clock.now_ms() + 60_000)
    with monkeypatch.context() as patched:
        patched.setattr(keys, "attest", lambda name: dataclasses.replace(attest(name), gone=soon))
        desk.erasures.complete()
        halfway = desk.state(case)
    desk.erasures.advance()

    assert (halfway, desk.state(case)) == ("pending", "complete")


def test_requests_are_safe_to_repeat_and_exclusive(desk):
    """The same id twice is one request; a second request for somebody being erased is refused."""
    erasure_id = event_id()
    first = desk.ask(erasure_id=erasure_id)

    again = desk.ask(erasure_id=erasure_id)
    for another in ("carol", "nobody"):  # Whom to erase is not read from the id alone.
        with pytest.raises(NotAskedSo):
            desk.ask(another, erasure_id=erasure_id)
    approved = desk.erasures.approve(erasure_id, ref=first.subject_ref, by=desk.second)

    assert again == first
    assert desk.erasures.approve(erasure_id, ref=first.subject_ref, by=desk.second) == approved
    request = desk.erasures.request
    with pytest.raises(NotAskedSo):
        request(person="alice", basis="another", by=desk.clerk, erasure_id=erasure_id)
    with pytest.raises(NotAskedSo):
        request(ref=first.subject_ref, basis=BASIS, by=desk.clerk)
    with pytest.raises(SubjectUnknown):  # She is not to be found any more.
        desk.ask()


def test_a_request_can_be_withdrawn_until_it_is_approved(desk):
    """Afterwards it is no longer one person's."""
    case = desk.ask()
    withdraw = desk.erasures.withdraw
    withdrawn = withdraw(case.erasure_id, by=desk.clerk, reason="mistaken")
    with pytest.raises(NotAskedSo):
        desk.approve(case)
    other = desk.ask_and_approve()

    assert withdrawn.state == "withdrawn"
    assert withdraw(case.erasure_id, by=desk.clerk, reason="mistaken") == withdrawn
    with pytest.raises(NotAskedSo):
        withdraw(other.erasure_id, by=desk.clerk, reason="mistaken")


def test_who_may_not(desk):
    """Pipelines, programs, the one who asked, and whoever names another subject."""
    case = desk.ask()

    for wrong in (desk.house.identity, dataclasses.replace(desk.clerk, kind="pipeline")):
        with pytest.raises(Forbidden):
            desk.erasures.request(person="alice", basis=BASIS, by=wrong)
        with pytest.raises(Forbidden):
            desk.approve(case, by=wrong)
    with pytest.raises(OneEye):
        desk.approve(case, by=desk.clerk)
    for name in ("carol", "bob"):
        with pytest.raises(NotAskedSo):
            desk.approve(case, person=name)
    approve = desk.erasures.approve
    for words in ({"person": "nobody"}, {"ref": event_id()}, {"ref": "x"}):
        with pytest.raises(SubjectUnknown):
            approve(case.erasure_id, by=desk.second, **words)
    for words in ({}, {"person": "alice", "ref": case.subject_ref}):
        with pytest.raises(Refused):
            approve(case.erasure_id, by=desk.second, **words)
    with pytest.raises(NotFound):
        approve(event_id(), person="alice", by=desk.second)
    with pytest.raises(MalformedEvent):
        desk.erasures.request(person="carol", basis="because @lice wants it", by=desk.clerk)

    assert desk.state(case) == "requested"


def test_one_person_with_two_tokens_is_one_person(desk):
    """Four eyes are two persons', however the name is spelled."""
    case = desk.ask()

    with pytest.raises(OneEye):
        desk.approve(case, by=desk.auditor(" ERIN "))
    with desk.house.owner() as owner:
        revoke(owner, desk.clerk.credential)
        forget(owner, desk.clerk.credential)
    with pytest.raises(OneEye):  # Not after their own name was erased, either.
        desk.approve(case, by=desk.auditor("erin"))

    assert desk.state(case) == "requested"
