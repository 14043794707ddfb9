# SPDX-License-Identifier: GPL-3.0-or-later
"""What a consent's words promised for its revocation: begun once, for the right one, in time."""

import threading

import pytest
from custody_desk import Desk
from desk_world import DIGEST, granted, revoked, text
from house import attempt, event_id, house_in

from anchoring import consent_effects
from anchoring.alerts import alerts
from anchoring.consent_effects import begin_effects, effect_id
from anchoring.fsck import Fsck
from ledger import clock
from ledger.desk.consents import consent_of, consent_revoked_by
from ledger.erasure.deciding import OneEye
from ledger.readmodel.follower import catch_up
from ledger.request import UUID7
from sealtrail.verify.disclosure import encode_base64url

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

TEXTS = {"erase": "words-erase", "hold": "words-hold", "none": "words-none"}


@pytest.fixture(scope="module")
def world(pattern, tmp_path_factory):
    """A tenant whose three texts promise three things."""
    with house_in(pattern, tmp_path_factory.mktemp("consents")) as house:
        made = Desk(house)
        record(made, *[text(id_, on_revocation=what) for what, id_ in TEXTS.items()])
        record(made, text("words-silent"))
        yield made


def record(world, *requests):
    for outcome in world.house.post(*requests):
        assert not isinstance(outcome, Exception), (outcome, getattr(outcome, "errors", ""))


def consent(world, what="erase", *, person=None, effects=None, revoke=True, **more):
    """A person consents, generates something, and takes it back; returns consent and revocation."""
    id_, person = event_id(), person or f"person-{event_id()}"
    given = granted(id_, TEXTS.get(what, what), person, **more)
    ended = revoked(id_, person, **({} if effects is None else {"effects": effects}))
    record(world, attempt(on_behalf_of=person), given, *([ended] if revoke else []))
    return id_, ended


def of(world, id_):
    catch_up(world.house.database, world.house.schema, ["consents"])
    return consent_of(world.house.database, world.house.schema, id_)


def effect(world, id_):
    """What is shown of the one effect."""
    (shown,) = of(world, id_).json(0)["effects"]
    return shown


def begin(world):
    return {one.consent_id: one for one in begin_effects(world.house.book)}


def told(world, code, id_):
    return [one for one in alerts(world.house.book, code=code) if one.about == f"Consent/{id_}"]


def entries(world, type_, **body):
    stored = world.house.book.reader.between(0, world.house.book.reader.head().size)
    found = [one.entry.value["body"] for one in stored if one.entry.value["type"] == type_]
    return [one for one in found if body.items() <= one.items()]


def test_a_promised_erasure_is_asked_for_by_the_ledger(world):
    """For the subject of the consent, on its ground in law; nothing goes before two approve."""
    id_, ended = consent(world, person="dora")

    begun = begin(world)[id_]

    case = world.erasures.get(begun.ref)
    assert begun.started == "erasure"
    assert case.erasure_id == effect_id(ended["event_id"])
    assert case.subject_ref == str(world.vault.subject_of("dora").ref)
    assert (case.state, case.basis, case.requested_by) == ("requested", "gdpr-17-1-b", None)
    shown = effect(world, id_)
    assert (shown["promised"], shown["started"], shown["ref"]) == ("erase", "erasure", begun.ref)
    newest = alerts(world.house.book, code="erasure-to-approve")[0]
    assert newest.about == f"Erasure/{begun.ref}"


def test_two_persons_approve_what_the_ledger_asked_for(world):
    """One alone takes it up, and no more; the same one twice is one."""
    id_, _ = consent(world, person="emil")
    case = world.erasures.get(begin(world)[id_].ref)

    first = world.approve(case, "emil", by=world.clerk)
    with pytest.raises(OneEye):
        world.approve(case, "emil", by=world.clerk)
    readable = world.vault.subject_of("emil") is not None
    second = world.approve(case, "emil", by=world.second)

    assert (first.state, first.requested_by) == ("requested", world.clerk.credential)
    assert readable
    assert (second.state, second.approved_by) == ("pending", world.second.credential)
    assert world.vault.subject_of("emil") is None


def test_a_promised_hold_is_placed_on_everything_of_the_subject(world):
    """Its matter is the revocation; a second look places no second one."""
    id_, ended = consent(world, "hold", person="fred")
    begun = begin(world)[id_]

    again = begin(world)

    hold = world.holds.get(begun.ref)
    ref = str(world.vault.subject_of("fred").ref)
    assert id_ not in again
    assert (hold.matter, hold.authority) == (ended["event_id"], "consent-revocation")
    assert hold.scopes == ({"subjects": [ref]},)
    assert world.holds.on_subject(ref) == (begun.ref,)
    world.holds.release(begun.ref, authority="end-of-test")


@pytest.mark.parametrize("what", ["none", "words-silent"])
def test_where_nothing_was_promised_nothing_is_begun(world, what):
    """And that is said."""
    id_, _ = consent(world, what)

    begun = begin(world)[id_]

    assert (begun.started, begun.ref) == ("none", None)
    assert effect(world, id_)["reason_code"] == "nothing-promised"


def test_the_effect_is_seen_from_the_revocation(world):
    """From its event id alone: the words, the grant, and what was begun."""
    id_, ended = consent(world)
    begun = begin(world)[id_]

    found = consent_revoked_by(world.house.database, world.house.schema, ended["event_id"])
    catch_up(world.house.database, world.house.schema, ["consents"])
    found = consent_revoked_by(world.house.database, world.house.schema, ended["event_id"])

    shown = found.json(0)
    assert shown["text"] == {"id": "words-erase", "version": "1", "digest": DIGEST}
    assert shown["revoked"]["event_id"] == ended["event_id"]
    assert shown["effects"][0]["ref"] == begun.ref


def test_of_two_consents_of_one_person_the_second_joins_the_first(world):
    """One person is erased once; both revocations say by which erasure."""
    first, _ = consent(world, person="gina")
    second, _ = consent(world, person="gina")

    begun = begin(world)

    assert begun[first].ref == begun[second].ref
    assert "joined" not in effect(world, first)
    assert effect(world, second)["joined"] is True
    ref = effect(world, first)["subject_ref"]
    assert len(entries(world, "ERASURE_REQUESTED", subject_ref=ref)) == 1


def test_a_consent_about_a_picture_is_the_depicted_ones(world):
    """Somebody else clicked; whose it was is asked in the vault."""
    given = granted(event_id(), TEXTS["erase"], "assistant-1")
    given["subjects"] = {"depicted": "hanna"}
    given["record_key"] = encode_base64url(clock.random_bytes(32))
    record(world, given, revoked(given["aggregate_id"], "assistant-1"))

    begun = begin(world)[given["aggregate_id"]]

    case = world.erasures.get(begun.ref)
    assert case.subject_ref == str(world.vault.subject_of("hanna").ref)
    assert case.subject_ref != str(world.vault.subject_of("assistant-1").ref)


def test_a_revocation_under_a_hold_is_deferred_when_it_is_approved(world):
    """The hold beats everything; the erasure waits for its end."""
    id_, _ = consent(world, person="ines")
    ref = str(world.vault.subject_of("ines").ref)
    hold = world.holds.apply({"subjects": [ref]}, matter="m-1", authority="court-order")
    case = world.erasures.get(begin(world)[id_].ref)

    world.approve(case, "ines", by=world.clerk)
    held = world.approve(case, "ines", by=world.second)
    world.holds.release(hold.hold_id, authority="court-order")
    world.erasures.advance()

    assert (held.state, held.hold_ids) == ("deferred", (hold.hold_id,))
    assert world.erasures.get(case.erasure_id).state == "pending"


def test_an_unknown_text_waits_and_a_person_hears_of_it(world):
    """Once; and when the version is published, its promise is kept."""
    late = f"words-{event_id()}"
    id_, ended = consent(world, late)

    first, second = begin(world), begin(world)
    waiting = effect(world, id_)
    record(world, text(late, on_revocation="hold"))
    third = begin(world)

    (alert,) = told(world, consent_effects.TEXT_UNKNOWN, id_)
    assert id_ not in first
    assert id_ not in second
    assert waiting == {"state": "waiting"}
    assert alert.facts["revocation"] == ended["event_id"]
    assert third[id_].started == "hold"
    world.holds.release(third[id_].ref, authority="end-of-test")


def test_other_words_than_the_published_ones_promise_nothing_that_we_know(world):
    """The digest of what was shown is not the text's: a person has to look."""
    other = f"words-{event_id()}"
    record(world, text(other, digest="sha256:" + "88" * 32, on_revocation="none"))
    id_, _ = consent(world, other)

    assert id_ not in begin(world)
    assert told(world, consent_effects.TEXT_UNKNOWN, id_)


@pytest.mark.parametrize(
    ("what", "declared", "differs"),
    [
        ("erase", [{"kind": "erase", "ref": "job-1"}], False),
        ("erase", [{"kind": "delete"}], False),
        ("erase", [{"kind": "none"}], True),
        ("none", [{"kind": "erase"}], True),
        ("erase", [{"kind": "erase"}, {"kind": "hold"}], True),
        ("erase", [], False),
    ],
)
def test_a_client_that_says_it_did_something_else_is_told_of(world, what, declared, differs):
    """The promise is kept all the same, and a person looks at the difference."""
    id_, _ = consent(world, what, effects=declared)

    begin(world)

    assert effect(world, id_).get("declared_differs", False) is differs
    assert bool(told(world, consent_effects.DIFFERS, id_)) is differs


@pytest.mark.parametrize("crash", ["raise_alert", "_record_effect"])
def test_a_crash_at_any_line_begins_nothing_twice(world, monkeypatch, crash):
    """The next look goes on where the last one ended, with the same ids."""
    id_, ended = consent(world)

    def dies(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(consent_effects, crash, dies)
        with pytest.raises(KeyboardInterrupt):
            begin(world)
    begun = begin(world)[id_]

    assert begun.ref == effect_id(ended["event_id"])
    assert len(entries(world, "ERASURE_REQUESTED", erasure_id=begun.ref)) == 1
    assert len(entries(world, "CONSENT_EFFECTED", consent_id=id_)) == 1
    assert len(alerts(world.house.book, code="erasure-to-approve")) >= 1


def test_two_processes_begin_an_effect_once(world):
    """Both look at the same moment, and one of them finds it done."""
    ids = [consent(world)[0] for _ in range(3)]
    other = world.house.second_process().book(world.house.tenant)
    start = threading.Barrier(2)

    def look(book):
        start.wait()
        begin_effects(book)

    threads = [threading.Thread(target=look, args=(book,)) for book in (world.house.book, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert [len(entries(world, "CONSENT_EFFECTED", consent_id=id_)) for id_ in ids] == [1, 1, 1]


@pytest.mark.parametrize("what", ["erase", "hold"])
def test_a_person_who_is_gone_already_is_not_asked_for_again(world, what):
    """The erasure was complete before the revocation: nothing is left to begin."""
    id_, ended = consent(world, what, person=f"jana-{what}", revoke=False)
    world.ask_and_approve(f"jana-{what}")
    world.erasures.complete()
    record(world, ended)

    begun = begin(world)[id_]

    assert begun.started == "none"
    assert effect(world, id_)["reason_code"] == "erased-before"


@pytest.mark.parametrize("what", ["erase", "hold"])
def test_where_one_of_two_is_erased_nobody_is_erased_on_a_guess(world, what):
    """The depicted person is gone; who clicked for them is not erased or held in their place."""
    given = granted(event_id(), TEXTS[what], f"assistant-{what}")
    given["subjects"] = {"depicted": f"gone-{what}"}
    record(world, given)
    world.ask_and_approve(f"gone-{what}")
    record(world, revoked(given["aggregate_id"], f"assistant-{what}"))

    begun = begin(world)[given["aggregate_id"]]

    assert begun.started == "none"
    assert effect(world, given["aggregate_id"])["reason_code"] == "subject-unclear"
    assert told(world, consent_effects.IMPOSSIBLE, given["aggregate_id"])
    assert world.vault.subject_of(f"assistant-{what}").state == "live"


def test_an_erasure_that_is_under_way_is_joined(world):
    """It was approved before; the revocation says which one it is."""
    id_, ended = consent(world, person="kurt", revoke=False)
    case = world.ask_and_approve("kurt")
    record(world, ended)

    begin(world)

    shown = effect(world, id_)
    assert (shown["ref"], shown["joined"]) == (case.erasure_id, True)


def test_an_id_that_somebody_used_before_is_left_alone(world):
    """An auditor who guesses the id of what will be begun cannot have another person erased."""
    id_, ended = consent(world, person="lena", revoke=False)
    record(world, attempt(on_behalf_of="somebody-else"))
    taken = effect_id(ended["event_id"])
    world.ask("somebody-else", erasure_id=taken)
    record(world, ended)

    begun = begin(world)[id_]

    assert begun.ref == effect_id(ended["event_id"], 1)
    assert world.erasures.get(begun.ref).subject_ref == str(world.vault.subject_of("lena").ref)


def test_a_consent_whose_values_the_client_keeps(world):
    """Nobody here can open or erase them: that is said, and a person hears of it."""
    id_ = event_id()
    digests = sorted(encode_base64url(clock.random_bytes(32)) for _ in range(2))
    given = granted(id_, TEXTS["erase"], "x")
    for name in ("on_behalf_of", "record_key"):
        del given[name]
    record(world, {**given, "_sd": digests, "person_digest": digests[0]}, revoked(id_, "x"))

    begun = begin(world)[id_]

    assert begun.started == "none"
    assert effect(world, id_)["reason_code"] == "producer-custody"
    assert told(world, consent_effects.IMPOSSIBLE, id_)


def test_the_id_of_an_effect_is_a_uuid_of_the_revocations_time():
    """Always the same for a revocation, another one for another."""
    one, two = event_id(), event_id()

    assert UUID7.fullmatch(effect_id(one))
    assert effect_id(one) == effect_id(one) != effect_id(two)
    assert effect_id(one) != effect_id(one, 1)
    assert effect_id(one)[:13] == one[:13]


def test_fsck_finds_nothing_wrong_with_all_this(world):
    """The last test of this file: every entry that was made above is sound."""
    begin(world)

    assert Fsck(world.house.book, first_key=world.house.first_key()).run().damage == []
