# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody in the house wants an entry, or a person's prompts, gone while a court wants them kept.

They have the server's login, the administrator's, or an auditor's token, and all the lawful ways in
which a ledger forgets: erasure, expiry, tiers, rotation of keys.
"""

import psycopg
import pytest
from administrator import administrator
from archiving import digest_of, gallery_in, picture
from house import attempt

from anchoring.fsck import Fsck
from ledger import clock
from ledger.erasure.deciding import OneEye
from ledger.erasure.erasures import Erasures
from ledger.errors import EntryDamaged
from ledger.hold_record import HoldsDiffer
from ledger.holds import HoldExists, HoldReleased, Holds
from ledger.keys import is_destroyed
from ledger.request import Identity
from ledger.vault.construction import wrapping_key
from sealtrail.verify import canonical
from sealtrail.verify.merkle import leaf_hash

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

COURT = {"matter": "2026-CV-01234", "authority": "court-order"}
PROMPT = "a portrait of the ferryman of lake bolsena in the rain"


@pytest.fixture
def kept(house):
    """A court has one event of alice's kept; `house.hold` is the hold."""
    house.event = attempt(on_behalf_of="alice", sealed={"prompt.user": PROMPT})
    house.post(house.event, attempt(on_behalf_of="carol"))
    house.hold = Holds.of(house.book).apply({"event_ids": [house.event["event_id"]]}, **COURT)
    return house


def auditor(house, name):
    house.token("auditor", "person", name)
    with house.owner() as owner:
        row = owner.execute(
            "SELECT credential_id FROM sealtrail.credential WHERE tenant = %s AND name = %s",
            (house.tenant, name),
        ).fetchone()
    return Identity(
        credential=row[0], tenant=house.tenant, role="auditor", kind="person", name=name
    )


def positions(house):
    return [at for at, _ in Holds.of(house.book).on_positions(0, 100)]


def erase(house, name="alice"):
    """Two auditors, in good faith or not, have a person erased; the night comes."""
    erasures = Erasures.of(house.book)
    case = erasures.request(person=name, basis="gdpr-17-1-b", by=auditor(house, "erin"))
    erasures.approve(case.erasure_id, person=name, by=auditor(house, "sam"))
    erasures.complete()
    return erasures.get(case.erasure_id)


def test_deletes_the_hold_from_its_table(kept):
    """Who: a database administrator.
    Tries: to delete the row by which sweeps and erasures know of the hold.
    Caught by: the log, which is asked before anything is destroyed; the row is made again.
    Not caught: nothing is left open, while the hold's entry is there; without it fsck is loud.
    """
    with administrator(kept) as admin:
        admin.do("DELETE FROM {b}.hold")

    assert positions(kept) == [0]
    assert erase(kept).state == "deferred"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {b}.hold SET released = 3",
        "UPDATE {b}.hold SET event_ids = '{}'",
        "UPDATE {b}.hold SET hold_id = gen_random_uuid()",
        (
            "INSERT INTO {b}.hold SELECT gen_random_uuid(), 1, 99, NULL, false, NULL, NULL, NULL,"
            " NULL, NULL, '{}', '{}', '{}', '{}', '{}'"
        ),
    ],
    ids=["released", "emptied", "renamed", "invented"],
)
def test_changes_the_hold_in_its_table(kept, statement):
    """Who: a database administrator.
    Tries: to mark the hold released, empty it, or give it another name, in the table.
    Caught by: the table is held against the log's entries; what no entry accounts for stops every
    erasure, sweep and plan until `hold rebuild` was run. fsck names it, too.
    Not caught: nothing is left open; the ledger destroys nothing meanwhile.
    """
    with administrator(kept) as admin:
        admin.do(statement)

    assert {found.what for found in Fsck(kept.book).run().damage} == {"hold"}
    with pytest.raises(HoldsDiffer):
        positions(kept)
    with pytest.raises(HoldsDiffer):
        erase(kept)
    with kept.owner() as owner:
        Holds.of(kept.book).rebuild(owner)
    assert positions(kept) == [0]


def test_releases_it_by_an_entry_that_nobody_signed(kept):
    """Who: an engineer with the server's database password.
    Tries: to append a LEGAL_HOLD_RELEASED of their own behind the end of the log.
    Caught by: entries count up to the signed head only; the head's tag needs the chain key.
    Not caught: the row stays in the way of the next writer, which says so; fsck names it.
    """
    book = kept.book
    value = book.reader.find(event_of(kept, "LEGAL_HOLD_PLACED")).entry.value
    body = {"hold_id": kept.hold.hold_id, "authority": "court-order"}
    value = {**value, "type": "LEGAL_HOLD_RELEASED", "body": body, "event_id": str(clock.new_id())}
    value["aggregate"] = {**value["aggregate"], "version": 99}
    data = canonical.encode(value)
    size = book.reader.head().size
    with psycopg.connect(kept.app_url, autocommit=True) as login:
        login.execute(f"SET ROLE {kept.schema}_append")
        login.execute(
            f"INSERT INTO {kept.schema}.entry VALUES (%s, %s, %s, %s, 'Log/log', 99,"
            " 'LEGAL_HOLD_RELEASED/1', %s, %s)",
            (size, leaf_hash(data), bytes(32), value["event_id"], clock.now_ms(), bytes(32)),
        )
        login.execute(f"INSERT INTO {kept.schema}.entry_body VALUES (%s, %s)", (size, data))

    assert positions(kept) == [0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {b}.entry SET topic = 'ACCESS/1' WHERE topic = 'LEGAL_HOLD_PLACED/1'",
        "DELETE FROM {b}.entry WHERE topic = 'LEGAL_HOLD_PLACED/1'",
        "UPDATE {b}.entry_body SET bytes = bytes || ' ' WHERE position = 2",
        "DELETE FROM {b}.entry_body WHERE position = 2",
    ],
    ids=["hidden", "deleted", "altered", "emptied"],
)
def test_takes_the_holds_own_entry_away(kept, statement):
    """Who: a database administrator.
    Tries: to make the entry that placed the hold unfindable, another one, or unreadable.
    Caught by: the table still names it, and a process that has seen it remembers; either way
    nobody can say what is held, and then nothing is destroyed. And by fsck, like any edit.
    Not caught: who removes entry, body and row at once, and restarts every server, gets past this
    check; the missing position is what fsck finds first.
    """
    with administrator(kept) as admin:
        admin.do(statement)

    for again in (Holds.of(kept.book), Holds.of(kept.second_process().book(kept.tenant))):
        with pytest.raises((EntryDamaged, HoldsDiffer)):
            again.on_positions(0, 100)
    with pytest.raises((EntryDamaged, HoldsDiffer)):
        erase(kept)


def test_has_the_person_erased_instead(kept):
    """Who: two auditors who want the prompt gone, or do not know of the hold.
    Tries: a lawful erasure of the person behind the event.
    Caught by: ERASURE_DEFERRED: the keys stay until the hold is released, whoever approves.
    Not caught: nothing is left open.
    """
    case = erase(kept)

    assert (case.state, case.hold_ids) == ("deferred", (kept.hold.hold_id,))
    assert kept.book.vault.open(kept.event["event_id"]).values["prompt.user"] == PROMPT
    assert not is_destroyed(kept.keys, wrapping_key(kept.origin, 1))


def test_has_the_person_of_a_held_picture_erased_instead(kept):
    """Who: a manager with two auditors' tokens, or two auditors who agree.
    Tries: to have the person erased whose picture a hold names by its digest, and no entry: the
    picture lies under that person's key.
    Caught by: a hold on content keeps the key that opens it: deferred, with the hold's id; a second
    lock in the database refuses to empty that key by hand.
    Not caught: a digest to which no entry commits yet; such an upload is held by its event's id.
    """
    gallery, content = gallery_in(kept), picture(seed=9)
    artifact = gallery.stored(content)
    scope = {"artifacts": [digest_of(content)]}
    hold = Holds.of(kept.book).apply(scope, **COURT)

    case = erase(kept, "employee-7")

    assert (case.subject_ref, case.state) == (str(artifact.subject_ref), "deferred")
    assert case.hold_ids == (hold.hold_id,)
    assert b"".join(gallery.artifacts.content(artifact)) == content


def test_has_somebody_else_erased_to_destroy_the_common_key(kept):
    """Who: an auditor who knows that one key wraps the keys of all.
    Tries: to have carol erased, so that the generation under which alice's key lies is destroyed.
    Caught by: before a generation goes, the keys of all others are wrapped under the next.
    Not caught: nothing is left open.
    """
    case = erase(kept, "carol")

    assert case.state == "complete"
    assert is_destroyed(kept.keys, wrapping_key(kept.origin, 1))
    assert kept.book.vault.open(kept.event["event_id"]).values["prompt.user"] == PROMPT


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {b}.sealed",
        "UPDATE {b}.sealed SET wrapped_key = NULL, blob = NULL",
        (
            "UPDATE {b}.subject SET state = 'erased', wrapped_key = NULL, identity = NULL,"
            " erasure_id = 'x'"
        ),
        "DELETE FROM {b}.hold",
        "TRUNCATE {b}.sealed",
    ],
)
def test_removes_the_sealed_values_by_hand(kept, statement):
    """Who: an engineer with the server's database password, or the owner's.
    Tries: to delete or empty what the hold keeps, past the ledger.
    Caught by: triggers that know the holds; the ledger's own mistakes end there, too.
    Not caught: who owns the tables switches triggers off. Values that are gone without an erasure
    are called damaged by whoever opens them; nobody can bring them back.
    """
    for url in (kept.app_url, kept.owner_url):
        with psycopg.connect(url, autocommit=True) as login:
            if url == kept.app_url:
                login.execute(f"SET ROLE {kept.schema}_retain")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                login.execute(statement.format(b=kept.schema))

    assert kept.book.vault.open(kept.event["event_id"]).values["prompt.user"] == PROMPT


def test_places_the_hold_again_with_less_in_it(kept):
    """Who: an auditor who was told to hold, and would rather hold something else.
    Tries: to send the same hold_id with another scope or matter; or to reopen a released one.
    Caught by: a hold never changes; it is released, and a new one is a new entry.
    Not caught: a hold that never had in it what the court meant; its scope is there to be read.
    """
    holds = Holds.of(kept.book)
    hold_id = kept.hold.hold_id

    for scope in ({"event_ids": [str(clock.new_id())]}, {"query": {"types": ["EXPORT"]}}):
        with pytest.raises(HoldExists):
            holds.apply(scope, hold_id=hold_id, **COURT)
    holds.release(hold_id, authority="court-order")
    with pytest.raises(HoldReleased):
        holds.apply({"event_ids": [kept.event["event_id"]]}, hold_id=hold_id, **COURT)


def test_releases_the_hold_with_a_token_of_their_own(kept):
    """Who: an auditor with a token.
    Tries: to release the hold without any court's order, and then to have the person erased.
    Caught by: NOT CAUGHT by itself: release is an auditor's right. It is an entry for ever that
    names the credential, and destruction then still needs two persons, or seven days.
    Not caught: two auditors who conspire. Watch LEGAL_HOLD_RELEASED.
    """
    erin = auditor(kept, "erin")
    actor = {"kind": "human", "credential": erin.credential}
    Holds.of(kept.book).release(kept.hold.hold_id, authority="court-order", actor=actor)
    erasures = Erasures.of(kept.book)
    case = erasures.request(person="alice", basis="gdpr-17-1-b", by=erin)

    with pytest.raises(OneEye):
        erasures.approve(case.erasure_id, person="alice", by=erin)

    (entry,) = kept.book.reader.of_topic("LEGAL_HOLD_RELEASED/1")
    assert entry.entry.value["actor"]["credential"] == erin.credential


def test_asks_for_an_erasure_before_the_court_does(kept):
    """Who: a person who expects a court order, and is faster.
    Tries: to be erased in time: approved today, before the hold on their prompts comes.
    Caught by: values are unreadable from the approval on, but destroyed in the night only; a hold
    that comes before it takes them out again.
    Not caught: a hold that comes after it. What is complete is complete.
    """
    erasures, erin, sam = Erasures.of(kept.book), auditor(kept, "erin"), auditor(kept, "sam")
    late = attempt(on_behalf_of="carol", sealed={"prompt.user": PROMPT})
    kept.post(late)
    case = erasures.request(person="carol", basis="gdpr-17-1-b", by=erin)
    pending = erasures.approve(case.erasure_id, person="carol", by=sam)

    Holds.of(kept.book).apply({"subjects": [case.subject_ref]}, **COURT)
    erasures.complete()

    assert pending.state == "pending"
    assert erasures.get(case.erasure_id).state == "deferred"
    assert kept.book.vault.open(late["event_id"]).values["prompt.user"] == PROMPT


def event_of(house, type_):
    return house.book.reader.of_topic(f"{type_}/1")[0].entry.event_id
