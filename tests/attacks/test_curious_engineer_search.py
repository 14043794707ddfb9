# SPDX-License-Identifier: GPL-3.0-or-later
"""Search makes a second picture of the log: the same curious people look in it for persons, for a
way into the database, and for a way to look without being seen.
"""

import json

import pytest
from custody_desk import Desk
from house import attempt, house_in
from served_house import serving

from ledger.readmodel.follower import catch_up
from ledger.readmodel.query import parse
from ledger.readmodel.search import Place, Search
from ledger.readmodel.searching import Searching

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PERSON = "erika.mustermann"
PROMPT = "the ferryman of lake bolsena"
PATH = "/v1/search"

#: Texts that mean something to PostgreSQL, to its text search, or to a pattern.
EVIL = (
    "x'; DROP TABLE {book}.entry; --", "x' OR '1'='1", "%", "_", "{book}", "%s", "%(id)s", "$1",
    "\\", "\\'", "a & b | !c", "a <-> b:*", "'", "(((", "NULL", "\u202e", "\U0001f600", "{{}}",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(pattern, tmp_path_factory):
    """A ledger with three events of one person and one of another, served."""
    with house_in(pattern, tmp_path_factory.mktemp("curious")) as house:
        sealed = {"prompt.user": PROMPT, "actor.account_id": "account-1", "net.ip": "192.0.2.7"}
        house.post(*[attempt(on_behalf_of=PERSON, sealed=sealed) for _ in range(3)], attempt())
        with serving(house) as service:
            yield service


def find(house, query):
    search = Search(house.database, house.book.vault, house.schema)
    return [match.position for match in search.page(parse(query), limit=50).found]


def post(service, query, **more):
    return service.ask("POST", PATH, token=service.auditor, json={"q": query, **more})


def test_reads_every_table_of_the_read_model(served):
    """Who: an engineer with the read role.
    Tries: to find a person, an account, an address or a word of a prompt in the tables of search.
    Caught by: nothing has to: only clear members of entries are there; who somebody is, is looked
    up by keyed blind index in the vault, with its keys.
    Not caught: which model was called how often and when, which entries say to every reader.
    """
    house = served.house
    catch_up(house.database, house.schema)
    with house.database.duty(house.schema, "read") as connection:
        tables = [*Searching.tables, "readmodel"]
        everything = [
            str(row)
            for table in tables
            for row in connection.execute(f"SELECT * FROM {house.schema}.{table}")
        ]

    assert find(house, f"actor:{PERSON}") == [2, 1, 0]
    assert any("painter" in row for row in everything)
    for secret in (PERSON, "account-1", "192.0.2.7", "ferryman", "bolsena"):
        assert not [row for row in everything if secret in row]


def test_searches_for_somebody_who_was_erased(house):
    """Who: an auditor who knows the id of a person whose erasure was carried out.
    Tries: to learn which entries were that person's, by every personal key.
    Caught by: the vault: the person's rows of the blind index are gone, and so is what they led to.
    Not caught: what the auditor wrote down before.
    """
    desk = Desk(house)
    before = find(house, "actor:alice"), find(house, "account:account-1")

    desk.ask_and_approve("alice")
    desk.erasures.complete()

    assert before == ([1, 0], [0])
    assert find(house, "actor:alice") == []
    assert find(house, "account:account-1") == []
    assert find(house, "actor:carol") == [2]


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_writes_sql_into_a_query(served, text):
    """Who: an auditor with a token, who is not one of the database's administrators.
    Tries: values, words and whole clauses that mean something to PostgreSQL.
    Caught by: the parser, which knows keys and values only, and statements in which no value of a
    query ever stands: each travels as a parameter.
    Not caught: nothing known.
    """
    value = json.dumps(text, ensure_ascii=False) if text not in ("\\", "\\'") else '"\\\\"'
    for key in ("label", "model", "aggregate", "actor", "account", "trace"):
        spelled = value if key != "aggregate" else f'"Asset/{value[1:-1]}"'
        answer = post(served, f"{key}:{spelled}")
        assert (answer.status_code, answer.json().get("found")) == (200, [])
    words = post(served, value)
    raw = post(served, text)

    assert words.status_code in (200, 422)
    assert raw.status_code in (200, 422)
    assert served.size == 4


def test_writes_half_a_character(served):
    """Who: an auditor whose program writes JSON by itself.
    Tries: half of a surrogate pair, which no database takes, in a value and in a word.
    Caught by: the parser of queries, before anything is asked.
    Not caught: nothing known.
    """
    for query in (rb"label:\ud800", rb"\udc00"):
        content = b'{"q": "' + query + b'"}'
        headers = {"content-type": "application/json"}
        answer = served.ask("POST", PATH, token=served.auditor, content=content, headers=headers)

        assert answer.status_code == 422


def test_names_a_person_in_an_address(served):
    """Who: an auditor who types the query into a browser, and whoever reads the proxy's log.
    Tries: a person, an account or a free word in a GET.
    Caught by: the API, which takes these in a body only; the answer repeats nothing of it.
    Not caught: what the first address already wrote into somebody's log; the answer says why not.
    """
    before = len(served.looks)

    for query in (f"actor:{PERSON}", "account:account-1 type:GEN", PERSON, f'-"{PERSON}"'):
        answer = served.get(PATH, params={"q": query})

        assert (answer.status_code, answer.json()["errors"][0]["rule"]) == (422, "personal")
        assert PERSON not in answer.text
    assert len(served.looks) == before


def test_forges_a_cursor(served):
    """Who: an auditor who writes cursors.
    Tries: positions beyond the log, the cursor of another query, broken ones.
    Caught by: the query's digest in it; a position only says where a page begins, and what is
    shown is what the query finds within what the log has.
    Not caught: nothing is to be gained: whoever may send a cursor may ask for all pages.
    """
    from api.search import print_cursor

    clauses = parse("type:GEN_ATTEMPT")
    real = post(served, "type:GEN_ATTEMPT", limit=2).json()["next"]
    far = print_cursor(Place(2**53 - 1, True, 2**53 - 1), clauses)

    beyond = post(served, "type:GEN_ATTEMPT", cursor=far).json()
    assert [one["position"] for one in beyond["found"]] == [3, 2, 1, 0]
    assert beyond["as_of"] == served.size
    other = post(served, "type:INGEST", cursor=real)
    assert (other.status_code, "belongs to the query" in other.text) == (422, True)
    for broken in ("", "AAAA", real[:-2], real + "A", "x" * 257, "é", real.swapcase()):
        answer = post(served, "type:GEN_ATTEMPT", cursor=broken)
        assert answer.status_code == 422


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_hides_what_was_looked_for(served, accept):
    """Who: an auditor who would rather not be seen looking.
    Tries: a page and whole files of one person's events.
    Caught by: the look: each is an entry of the access Book, a file as an export. It has how many
    were found and which, and nothing of the person who was looked for.
    Not caught: a page on a screen that others see.
    """
    headers = {"accept": accept}
    body = {"q": f"actor:{PERSON}"}
    before = len(served.looks)

    seen = served.ask("POST", PATH, token=served.auditor, json=body, headers=headers)

    (look,) = served.looks[before:]
    assert seen.status_code == 200
    assert look["body"]["result_count"] == 3
    assert look["body"]["exported"] == (accept != "application/json")
    assert PERSON not in json.dumps(look)


def test_looks_while_nobody_writes_it_down(pattern, tmp_path):
    """Who: an auditor who has had the access Book damaged.
    Tries: a page and whole files while no look can be entered.
    Caught by: the order: the look is entered before the first byte, so nothing is shown.
    Not caught: nothing known.
    """
    with house_in(pattern, tmp_path) as house, serving(house) as service:
        house.post(attempt())
        house.access_book.writer.close()
        with house.owner() as owner:
            owner.execute("SET session_replication_role = replica")
            owner.execute(
                f"UPDATE {house.schema}_access.head SET mac = decode(repeat('00', 32), 'hex')"
            )

        for accept in ("application/json", "application/x-ndjson", "text/csv", "application/zip"):
            answer = service.ask(
                "POST", PATH, token=service.auditor, json={"q": ""}, headers={"accept": accept}
            )

            assert answer.status_code == 503
            assert "GEN_ATTEMPT" not in answer.text
