# SPDX-License-Identifier: GPL-3.0-or-later
"""The thief of sealed values: copies the database, its WAL and its backups, now or a year ago, and
comes back with whatever keys there still are; or changes rows so that the ledger opens them itself.

Every prompt and every name lies in the vault, sealed under its person's own key. The house here is
a real one; what was recorded went through its writer.
"""

from collections import Counter
from contextlib import closing, suppress
from hashlib import sha256

import psycopg
import pytest
from house import attempt, house_in
from sealing import Sealer
from served_house import serving

from ledger.erasure.erasures import Erasures
from ledger.erasure.lawful import ErasureUnknown, check_lawful
from ledger.errors import IntegrityViolation
from ledger.keys import KeyDestroyed
from ledger.outcome import Repeated
from ledger.request import Identity
from ledger.vault.construction import index_key, index_message, wrapping_key
from ledger.vault.opening import Gone
from ledger.vault.statement import VaultMoved
from ledger.vault.vault import Vault
from sealtrail.verify.disclosure import PERSON, encode_base64url

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PROMPT = "the pin of my bank card is 4711"
GUESSES = [f"the pin of my bank card is {pin:04}" for pin in range(10_000)]
TABLES = ("sealed", "subject", "subject_index", "blind", "entry_body")


@pytest.fixture(scope="module")
def one_house(pattern, tmp_path_factory):
    """One ledger for all who try; its log and its generations of keys only grow."""
    with house_in(pattern, tmp_path_factory.mktemp("thief")) as made:
        yield made


@pytest.fixture(scope="module")
def service(one_house):
    """Its API."""
    with serving(one_house) as made:
        yield made


@pytest.fixture
def house(one_house):
    """The same with nothing in its vault but alice's bank card and bob's dog."""
    changed(one_house, "TRUNCATE {b}.subject, {b}.subject_index, {b}.sealed, {b}.blind")
    changed(one_house, "UPDATE {b}.vault_state SET serial = serial + 1")
    prompts = (("alice", PROMPT), ("bob", "a dog"))
    one_house.events = {name: post(one_house, name, prompt) for name, prompt in prompts}
    return one_house


def now(house):
    """The generation of keys in use."""
    with house.owner() as owner:
        return owner.execute(f"SELECT generation FROM {house.schema}.vault_state").fetchone()[0]


def post(house, name, prompt, **more):
    """Record one event of a person; returns its id."""
    sealed = {"prompt.user": prompt, "actor.account_id": f"account of {name}"}
    request = attempt(on_behalf_of=name, sealed=sealed, **more)
    house.post(request)
    return request["event_id"]


def vault_of(house, keys=None):
    """The vault as a process that has just started opens it."""
    row = house.shelf.rows()[house.tenant]
    keys = keys or house.second_process().keys
    return Vault(house.database, schema=row.schema, origin=row.first_origin, keys=keys)


def officer(house, name):
    return Identity(
        credential=f"cred_{name}", tenant=house.tenant, role="auditor", kind="person", name=name
    )


def erase(house, name):
    """A lawful erasure, from the request to the end of the keys."""
    erasures = Erasures.of(house.book)
    case = erasures.request(basis="gdpr-17-1-a", by=officer(house, "one"), person=name)
    erasures.approve(case.erasure_id, by=officer(house, "two"), person=name)
    erasures.complete()
    return case.erasure_id


def rows_of(house):
    """Every byte of the rows in which anything of a person may lie."""
    with house.owner() as owner:
        found = [
            owner.execute(f"SELECT * FROM {house.schema}.{table}").fetchall() for table in TABLES
        ]
    return [value for rows in found for row in rows for value in row]


def changed(house, statement):
    """Do what the owner of the tables can, no trigger in the way."""
    with house.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(statement.format(b=house.schema))


def test_copies_every_row_and_looks_for_the_words(house):
    """Who: a thief with a copy of the database and no key.
    Tries: to find a prompt or a name in it, in any spelling.
    Caught by: the vault: there is cipher text, and digests with 128 bits of salt.
    Not caught: how many events one person has: rows of one person share a random name.
    """
    wanted = [PROMPT, "alice", "account of alice", "a dog", "bob"]

    for value in rows_of(house):
        text = value if isinstance(value, bytes) else str(value).encode()
        for one in wanted:
            for spelled in (one.encode(), encode_base64url(one.encode()).encode()):
                assert spelled not in text


def test_opens_the_copy_with_the_keys_of_after_an_erasure(house):
    """Who: a thief with a copy of the database from before an erasure, and every key of today.
    Tries: to put the old rows back, and have the vault open what was erased.
    Caught by: the key of that generation, which nobody has; no copy of it was ever in the database.
    Not caught: those who were not erased: database and keystore together open them.
    """
    with house.owner() as owner:
        for table in TABLES[:-1]:
            owner.execute(
                f"CREATE TABLE {house.schema}.old_{table} AS TABLE {house.schema}.{table}"
            )
    erase(house, "alice")
    for table in TABLES[:-1]:
        changed(house, "DELETE FROM {b}." + table)
        changed(house, f"INSERT INTO {{b}}.{table} SELECT * FROM {{b}}.old_{table}")

    with pytest.raises(KeyDestroyed):
        vault_of(house).open(house.events["alice"])


def test_guesses_the_pin_with_every_index_key(house):
    """Who: a thief with all rows from before and after an erasure, and every blind-index key left.
    Tries: each of ten thousand prompts against every commitment and every blind index.
    Caught by: the salt, which only the erased disclosure held; prompts are in no index at all.
    Not caught: nothing is left open, unless the client kept the record key.
    """
    before, old = rows_of(house), now(house)
    erase(house, "alice")
    known = {value for value in (*before, *rows_of(house)) if isinstance(value, bytes)}
    digests = b"".join(known)
    fields = ("prompt.user", "subject", "actor.account_id")
    key = index_key(house.origin, old + 1)

    hits = Counter()
    for guess in GUESSES:
        hits["digest"] += encode_base64url(sha256(guess.encode()).digest()).encode() in digests
        for field in fields:
            hits["index"] += house.keys.mac(key, index_message(field, guess)) in known

    assert hits == {"digest": 0, "index": 0}
    with pytest.raises(KeyDestroyed):
        house.keys.mac(index_key(house.origin, old), index_message("subject", "alice"))


def test_asks_if_somebody_was_here_by_todays_index_key(house):
    """Who: a thief with old rows and today's index key, who knows alice's account.
    Tries: to confirm that the account was ever used, by its blind index.
    Caught by: the index key's generation, destroyed with the erasure; the rows of after lack it.
    Not caught: for those who were not erased, whoever has rows and index key can confirm a guess.
    """
    before = {bytes(one) for one in rows_of(house) if isinstance(one, bytes)}
    message = index_message("actor.account_id", "account of alice")
    old = now(house)
    assert house.keys.mac(index_key(house.origin, old), message) in before
    erase(house, "alice")
    after = {bytes(one) for one in rows_of(house) if isinstance(one, bytes)}

    assert house.keys.mac(index_key(house.origin, old + 1), message) not in before | after
    bob = index_message("actor.account_id", "account of bob")
    assert house.keys.mac(index_key(house.origin, old + 1), bob) in after


VALUES = """
UPDATE {b}.sealed a SET blob = b.blob, wrapped_key = b.wrapped_key FROM {b}.sealed b
 WHERE b.event_id <> a.event_id
"""
KEYS = """
UPDATE {b}.subject a SET wrapped_key = b.wrapped_key, identity = b.identity FROM {b}.subject b
 WHERE b.ref <> a.ref
"""
EVENTS = "UPDATE {b}.sealed SET event_id = gen_random_uuid()"


@pytest.mark.parametrize("statement", [VALUES, KEYS, EVENTS], ids=["values", "keys", "events"])
def test_has_the_ledger_show_one_persons_words_as_anothers(house, statement):
    """Who: the owner of the tables, who wants alice's words to be bob's.
    Tries: to exchange blobs, keys, or the events to which they belong.
    Caught by: the event and the person to which each cipher text is bound, and the entry's digests.
    Not caught: the loss: what was moved away from its place is shown nowhere.
    """
    changed(house, statement)
    vault = vault_of(house)
    shown = []
    for event_id in house.events.values():
        with suppress(IntegrityViolation):
            shown += vault.open(event_id).values.values()

    assert shown == []


def test_leads_a_persons_next_words_to_another_key(house):
    """Who: the owner of the tables, who wants what alice writes next erased along with bob.
    Tries: to have the index of persons lead from alice to bob.
    Caught by: the person's id, sealed under the key that the index leads to, before it is used.
    Not caught: a writer that knows alice already asks no index, and is right.
    """
    changed(
        house,
        "UPDATE {b}.subject_index a SET ref = b.ref FROM {b}.subject_index b WHERE b.ref <> a.ref",
    )

    with closing(Sealer(house)) as writer, pytest.raises(IntegrityViolation):
        writer.vault.seal(writer.connection, [house.prepare(attempt(on_behalf_of="alice"))])


def test_marks_somebody_as_erased(house, service):
    """Who: the owner of the tables, who wants evidence gone with the ledger's own word for it.
    Tries: to mark alice erased by an erasure that nobody asked for, or by somebody else's.
    Caught by: whoever reads: the log must know that very erasure of that very person.
    Not caught: the loss of what was destroyed; a backup has it, if its keys are still there.
    """
    lawful = erase(house, "bob")
    vault = vault_of(house)
    for made_up in ("01a1fd54-3a05-7000-8000-000000000000", lawful, "unrecoverable"):
        ref = vault.subject_for(f"alice {made_up}")
        with pytest.raises(ErasureUnknown):
            check_lawful(house.book, [Gone(ref=ref, erasure_id=made_up, complete=True)])
    changed(
        house,
        "UPDATE {b}.subject SET state = 'erased', wrapped_key = NULL, identity = NULL,"
        f" erasure_id = '{lawful}' WHERE state = 'live'",
    )
    answer = service.get(f"/v1/events/{house.events['alice']}?disclose=prompt.user")

    assert (answer.status_code, answer.json()["code"]) == (500, "erasure-unknown")


def test_brings_an_erased_person_back_by_an_update(house):
    """Who: the owner of the tables, after an erasure.
    Tries: to set the row of the erased person to live again, with the old wrapped key.
    Caught by: a trigger; and without it, by the key that wrapped it, which is destroyed.
    Not caught: nothing is left open.
    """
    with house.owner() as owner:
        key, identity = owner.execute(
            f"SELECT s.wrapped_key, s.identity FROM {house.schema}.subject s"
            f" JOIN {house.schema}.sealed v ON v.subject_ref = s.ref WHERE v.event_id = %s",
            (house.events["alice"],),
        ).fetchone()
    old = now(house)
    erase(house, "alice")
    back = (
        f"UPDATE {{b}}.subject SET state = 'live', erasure_id = NULL, generation = {old},"
        f" wrapped_key = '\\x{key.hex()}', identity = '\\x{identity.hex()}' WHERE state = 'erased'"
    )

    with house.owner() as owner, pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.execute(back.format(b=house.schema))
    changed(house, back)
    with pytest.raises((KeyDestroyed, IntegrityViolation)):
        vault_of(house).open(house.events["alice"])


def test_sends_words_of_the_erased_into_the_night_of_the_erasure(house):
    """Who: a pipeline that goes on recording while its person is erased.
    Tries: to have a value sealed under the key that is about to go, or to keep that key in use.
    Caught by: the gate in the writer's statement: the batch is sealed anew, for a new subject.
    Not caught: nothing is left open; what comes after the request is not part of the erasure.
    """
    with closing(Sealer(house)) as late:
        request = house.prepare(attempt(on_behalf_of="alice", sealed={"prompt.user": "again"}))
        sealed = late.vault.seal(late.connection, [request])
        erase(house, "alice")

        with pytest.raises(VaultMoved):
            late.write(sealed)
    again = post(house, "alice", "again")
    assert vault_of(house).open(again).values["prompt.user"] == "again"


def test_sends_the_erased_event_again(house):
    """Who: a client that has kept its journal, after its person was erased.
    Tries: to send the very same event once more, so that its values are sealed anew.
    Caught by: the writer: a repeat is answered with a receipt, and seals nothing.
    Not caught: what the client itself still has; it was told to forget its record keys.
    """
    request = attempt(on_behalf_of="alice", sealed={"prompt.user": PROMPT})
    house.post(request)
    erase(house, "alice")

    (outcome,) = house.post(request)

    assert isinstance(outcome, Repeated)
    assert vault_of(house).open(request["event_id"]).values == {}


def test_keeps_a_person_from_being_erased_by_another_spelling(house):
    """Who: somebody who wants alice's data to survive her erasure.
    Tries: to record it under another spelling of her name, which looks the same.
    Caught by: Unicode's composed form (NFC): letters that are one are one person.
    Not caught: another case, a blank more, another id: who names persons must name them one way.
    """
    first = post(house, "ren\u00e9", "one")
    second = post(house, "rene\u0301", "two")
    erase(house, "rene\u0301")
    vault = vault_of(house)

    assert vault.open(first).values == vault.open(second).values == {}
    other = post(house, "Alice", "three")
    erase(house, "alice")
    assert vault.open(other).values["prompt.user"] == "three"


def test_takes_the_tenants_own_name_for_a_person(house):
    """Who: a pipeline that names a person like the ledger's own subject for the tenant's words.
    Tries: to have system prompts erased with that person, or to read them as that person's.
    Caught by: two fields of the index: the tenant is nobody's namesake, and is never erased.
    Not caught: nothing is left open.
    """
    event = post(house, "tenant", "mine")
    request = attempt(on_behalf_of="tenant", sealed={"prompt.system": "be kind"})
    house.post(request)
    erase(house, "tenant")
    vault = vault_of(house)

    assert vault.open(event).values == {}
    assert vault.open(request["event_id"]).values == {"prompt.system": "be kind"}


def test_keeps_the_old_wrapping_key_in_a_process(house):
    """Who: a process that has loaded the keys of the generation that an erasure has ended.
    Tries: to go on using them.
    Caught by: the vault's state, which it reads before it seals for anybody new or is refused.
    Not caught: until then they lie in its memory; restart every process to be sure of the moment.
    """
    other = house.second_process()
    name = wrapping_key(house.origin, now(house))
    with closing(Sealer(house, shelf=other)) as idle:
        prepared = house.prepare(attempt(on_behalf_of="alice"))
        idle.vault.seal(idle.connection, [prepared])
        erase(house, "alice")
        assert name in other.keys._loaded
        with suppress(VaultMoved):
            idle.record(prepared)
        idle.vault.forget()
        idle.vault.seal(idle.connection, [prepared])

        with pytest.raises(KeyDestroyed):
            other.keys.unwrap(name, b"", b"")


def test_searches_for_what_somebody_wrote(house, service):
    """Who: an auditor with a token, curious about what was asked.
    Tries: to search for prompts; to find persons one by one; to leave no trace of the question.
    Caught by: identifiers alone are indexed; each search is an entry that names what it found.
    Not caught: which value was tried is recorded nowhere, since it may be somebody's name.
    """
    before = len(service.looks)

    def search(field, value):
        body = {"field": field, "value": value}
        return service.ask("POST", "/v1/events:search", token=service.auditor, json=body)

    refused = search("prompt.user", PROMPT)
    found = search(PERSON, "alice").json()["event_ids"]
    nobody = search(PERSON, "nobody").json()["event_ids"]
    looks = service.looks[before:]

    assert refused.status_code == 422
    assert (found, nobody) == ([house.events["alice"]], [])
    assert [look["body"]["result_count"] for look in looks] == [1, 0]
    assert looks[0]["body"]["target_event_ids"] == found
    assert "alice" not in str(looks)
