# SPDX-License-Identifier: GPL-3.0-or-later
"""Search over HTTP: pages, files, and the look that is entered before any of it is shown."""

import csv
import hashlib
import io
import json
import socket
import struct
import zipfile
from urllib.parse import urlsplit

import pytest
from house import attempt, house_in, ingest
from served_house import serving

import api.search
from evidence.search_export import guarded
from ledger import clock

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

PATH = "/v1/search"
COUNT = 7


@pytest.fixture(scope="module")
def served(postgres, tmp_path_factory):
    """A ledger with seven attempts and an asset that came in with a formula for a name."""
    with house_in(postgres, tmp_path_factory.mktemp("searched")) as house:
        model = {"provider": "acme", "name": "=HYPERLINK(1)", "version": "3"}
        body = {"operation": "generate", "input_type": "text", "model": model}
        house.events = [attempt(body=body) for _ in range(COUNT)]
        house.post(*house.events, ingest())
        with serving(house) as service:
            yield service


@pytest.fixture
def asked(served):
    """The same, and how many looks there were before."""
    served.before = len(served.looks)
    return served


def looks(service):
    return [look["body"] for look in service.looks[service.before :]]


def post(service, accept="application/json", **body):
    headers = {"accept": accept}
    return service.ask("POST", PATH, token=service.auditor, json=body, headers=headers)


def test_a_page_names_its_entries_and_where_the_next_begins(asked):
    """Newest first; each entry leads to its bytes and to its proof, and both are there."""
    answer = asked.get(PATH, params={"q": "type:GEN_ATTEMPT", "limit": 3})

    page = answer.json()
    ids = [one["event_id"] for one in asked.house.events]
    assert answer.status_code == 200
    assert [one["event_id"] for one in page["found"]] == ids[:-4:-1]
    assert (page["as_of"], page["behind"], page["previous"]) == (COUNT + 1, 0, None)
    assert asked.get(page["found"][0]["links"]["entry"]).json()["event_id"] == ids[-1]
    proof = asked.get(page["found"][0]["links"]["proof"]).json()
    assert proof["leaf"] == page["found"][0]["leaf"]


def test_cursors_lead_forward_and_back(asked):
    """Three pages of three, three and one, and the same ones back again."""
    query = {"q": "type:GEN_ATTEMPT", "limit": 3}
    pages = [asked.get(PATH, params=query).json()]
    while pages[-1]["next"]:
        pages.append(asked.get(PATH, params={**query, "cursor": pages[-1]["next"]}).json())
    back = asked.get(PATH, params={**query, "cursor": pages[2]["previous"]}).json()
    first = asked.get(PATH, params={**query, "cursor": back["previous"]}).json()

    positions = [[one["position"] for one in page["found"]] for page in pages]
    assert positions == [[6, 5, 4], [3, 2, 1], [0]]
    assert back["found"] == pages[1]["found"]
    assert first["found"] == pages[0]["found"]
    assert (first["previous"], bool(first["next"])) == (None, True)


def test_the_oldest_come_first_if_asked_for(asked):
    page = asked.get(PATH, params={"q": "type:GEN_ATTEMPT", "limit": 2, "order": "oldest"}).json()
    rest = {"q": "type:GEN_ATTEMPT", "limit": 5, "order": "oldest", "cursor": page["next"]}

    assert [one["position"] for one in page["found"]] == [0, 1]
    assert [one["position"] for one in asked.get(PATH, params=rest).json()["found"]] == [
        *range(2, 7)
    ]


def test_a_page_is_entered_as_a_look_before_it_is_shown(asked):
    """By the entries it shows; of what was asked for, nothing."""
    page = post(asked, q="actor:employee-7", limit=2).json()

    (look,) = looks(asked)
    assert look["target_event_ids"] == sorted(one["event_id"] for one in page["found"])
    assert (look["path"], look["result_count"], look["exported"]) == (PATH, 2, False)
    assert "employee-7" not in json.dumps(look)


def test_ndjson_ends_with_the_manifest_of_the_lines_before(asked):
    """Oldest first; who has no last line has not got all."""
    answer = post(asked, "application/x-ndjson", q="type:GEN_ATTEMPT")

    *lines, last = answer.content.splitlines(keepends=True)
    manifest = json.loads(last)["manifest"]
    assert [json.loads(line)["position"] for line in lines] == list(range(COUNT))
    assert manifest["file"]["sha256"] == digest(b"".join(lines))
    assert (manifest["count"], manifest["query"]) == (COUNT, "type:GEN_ATTEMPT")
    (look,) = looks(asked)
    assert (look["result_count"], look["exported"], look["target_event_ids"]) == (COUNT, True, [])


def test_csv_has_a_line_for_each_entry_and_no_formula(asked):
    """A model may be called anything; a spreadsheet must not run it."""
    answer = asked.get(PATH, params={"q": "type:GEN_ATTEMPT"}, headers={"accept": "text/csv"})

    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["sealtrail-count"] == str(COUNT)
    assert [row["event_id"] for row in rows] == [one["event_id"] for one in asked.house.events]
    assert rows[0]["model"].startswith("'=HYPERLINK(1) | ")
    assert rows[0]["outcome"] == "open"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("\n=1+1", "'\n=1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("painter;=1+1", "painter;'=1+1"),
        ("a;;@b", "a;;'@b"),
        ("", ""),
        ("gpt-image-1 | a=b", "gpt-image-1 | a=b"),
    ],
)
def test_no_cell_begins_as_a_formula_wherever_a_spreadsheet_begins_one(cell, shown):
    """Also after a semicolon, at which many begin another cell, and in full-width characters."""
    assert guarded(cell) == shown


def test_the_zip_is_a_csv_with_its_manifest_and_the_signed_checkpoint(asked):
    """What a lawyer keeps in one file: the list, the query, the digest, the moment."""
    answer = post(asked, "application/zip", q='type:GEN_ATTEMPT -"no such words"')

    with zipfile.ZipFile(io.BytesIO(answer.content)) as made:
        assert made.testzip() is None
        names = made.namelist()
        table = made.read("results.csv")
        manifest = json.loads(made.read("manifest.json"))
        note = made.read("checkpoint.txt")
    assert names == ["results.csv", "manifest.json", "checkpoint.txt"]
    assert manifest["file"] == {
        "sha256": digest(table),
        "bytes": len(table),
        "name": "results.csv",
        "columns": table.decode().splitlines()[0].split(","),
    }
    assert manifest["query"] == 'type:GEN_ATTEMPT -"no such words"'
    assert manifest["as_of"] == COUNT + 1
    assert manifest["checkpoint"].encode() == note == asked.public("/checkpoint").content


def test_a_query_that_breaks_a_rule_is_refused_and_is_no_look(asked):
    """The answer says where, and nothing of what was written there."""
    answer = post(asked, q="type:GEN erika:mustermann")

    assert answer.status_code == 422
    assert answer.json()["code"] == "query-malformed"
    assert answer.json()["errors"][0]["rule"] == "unknown-key"
    assert "erika" not in answer.text
    assert looks(asked) == []


def test_a_pipeline_may_not_search(asked):
    answer = asked.ask("POST", PATH, token=asked.pipeline, json={"q": ""})

    assert answer.status_code == 403
    assert looks(asked) == []


def test_files_take_turns(asked):
    """Exports of a whole log are work for a core; pages are answered all the same."""
    with api.search._TURNS, api.search._TURNS:
        busy = post(asked, "text/csv", q="")
        page = post(asked, q="")

    assert (busy.status_code, busy.json()["code"]) == (503, "overloaded")
    assert page.status_code == 200
    assert post(asked, "text/csv", q="").status_code == 200
    assert post(asked, "text/csv", q="").status_code == 200
    assert post(asked, "text/csv", q="").status_code == 200


@pytest.mark.parametrize("form", ["text/csv", "application/x-ndjson", "application/zip"])
def test_a_file_that_nobody_waits_for_any_more_keeps_no_turn(asked, form):
    """Whoever hangs up before the first byte, or after it, leaves exports to the others."""
    for pause_s in (0.0, 0.0, 0.002, 0.01, 0.05):
        hang_up(asked, form, pause_s)

    turns = [api.search._TURNS.acquire(timeout=10) for _ in range(2)]
    for _ in filter(None, turns):
        api.search._TURNS.release()
    assert turns == [True, True]
    assert post(asked, form, q="").status_code == 200


def hang_up(service, form, pause_s):
    """Ask for a file, and close the connection so that the server is told at once."""
    url = urlsplit(service.url)
    body = b'{"q": ""}'
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {service.auditor}\r\n"
        f"Accept: {form}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(head.encode() + body)
        clock.pause(pause_s)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
