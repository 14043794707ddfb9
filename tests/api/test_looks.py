# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever looks at content is entered in the access Book first, or sees nothing."""

import json
from hashlib import sha256

import pytest
from house import attempt, event_id, house_in
from served_house import serving

from api.looks import UNSTATED
from sealtrail.verify import canonical

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CASE = {"sealtrail-purpose": "incident-42"}


@pytest.fixture(scope="module")
def receipt(service):
    return service.post(attempt()).json()


@pytest.fixture
def own(pattern, tmp_path):
    """A tenant of this test's own, whose access Book it may damage."""
    with house_in(pattern, tmp_path) as house, serving(house) as made:
        yield made


def looked(service, ask):
    """What `ask` left in the access Book, and its answer."""
    before = len(service.looks)
    answer = ask()
    return service.looks[before:], answer


def test_a_look_names_credential_purpose_and_what_was_shown(service, receipt):
    id_ = receipt["event_id"]

    looks, answer = looked(service, lambda: service.get(f"/v1/events/{id_}", headers=CASE))

    assert answer.status_code == 200
    (look,) = looks
    query = {"book": service.house.tenant, "path": "/v1/events/{id}", "event_ids": [id_]}
    assert look["body"] == {
        "purpose": "incident-42",
        "path": "/v1/events/{id}",
        "book": service.house.tenant,
        "book_size": service.size,
        "query_digest": f"sha256:{sha256(canonical.encode(query)).hexdigest()}",
        "result_count": 1,
        "target_event_ids": [id_],
        "fields_disclosed": [],
        "exported": False,
    }
    assert look["actor"]["credential"].startswith("cred_")
    assert look["actor"]["kind"] == "human"
    assert "auditor-1" not in json.dumps(look)


@pytest.mark.parametrize(
    ("suffix", "path"), [("", "/v1/events/{id}"), ("/proof", "/v1/events/{id}/proof")]
)
def test_every_look_is_one_entry_found_or_not(service, receipt, suffix, path):
    """Also one that finds nothing, one that asks for the head only, and one that has it already."""
    found = f"/v1/events/{receipt['event_id']}{suffix}"
    tag = service.get(found).headers.get("etag", "")
    asks = [
        lambda: service.get(found),
        lambda: service.get(f"/v1/events/{event_id()}{suffix}"),
        lambda: service.ask("HEAD", found, token=service.auditor),
        lambda: service.get(found, headers={"if-none-match": tag}),
        lambda: service.get(f"/v1/books/{service.house.tenant}{found[3:]}"),
    ]

    for ask, count in zip(asks, (1, 0, 1, 1, 1), strict=True):
        looks, _ = looked(service, ask)
        assert [look["body"]["path"] for look in looks] == [path]
        assert looks[0]["body"]["result_count"] == count
        assert looks[0]["body"]["purpose"] == UNSTATED


@pytest.mark.usefixtures("receipt")
def test_a_bundle_is_one_look_at_all_of_its_entries(service):
    service.post(attempt())

    looks, answer = looked(service, lambda: service.get("/v1/tile/entries/000.p/2", headers=CASE))

    assert answer.status_code == 200
    (look,) = looks
    assert look["body"]["result_count"] == 2
    assert len(look["body"]["target_event_ids"]) == 2
    assert look["body"]["exported"]


def test_a_packet_is_two_looks(service, receipt):
    """To have it built, and to fetch it."""
    order = {"event_ids": [receipt["event_id"]], "disclosures": {}}

    built, answer = looked(
        service, lambda: service.ask("POST", "/v1/packets", token=service.auditor, json=order)
    )
    assert answer.status_code == 201
    path = f"/v1/packets/{answer.json()['id']}"
    fetched, packet = looked(service, lambda: service.get(path, headers=CASE))

    assert [look["body"]["path"] for look in built + fetched] == ["/v1/packets", "/v1/packets/{id}"]
    assert built[0]["body"]["target_event_ids"] == [receipt["event_id"]]
    assert packet.headers["content-type"] == "application/zip"
    assert f"sha256:{sha256(packet.content).hexdigest()}" == answer.json()["sha256"]


@pytest.mark.usefixtures("receipt")
def test_public_documents_are_no_looks(service):
    paths = ("/v1/checkpoint", "/v1/proofs/0", "/v1/tile/0/000.p/1", "/v1/anchors/2026-01-14")

    for path in paths:
        looks, answer = looked(service, lambda path=path: service.get(path))
        assert (answer.status_code, looks) == (200, [])


def test_who_may_not_look_leaves_no_look(service, receipt):
    """Nothing was shown; and a stranger must not be able to fill the access Book."""
    path = f"/v1/events/{receipt['event_id']}"
    asks = [
        lambda: service.ask("GET", path),
        lambda: service.ask("GET", path, token=service.pipeline),
        lambda: service.get("/v1/events/x"),
        lambda: service.get("/v1/tile/entries/999"),
    ]

    for ask in asks:
        looks, answer = looked(service, ask)
        assert answer.status_code in (401, 403, 404, 422)
        assert looks == []


@pytest.mark.parametrize("purpose", ["Because I can", "x" * 65, "", "-x", "é", "a\tb", "a/b"])
def test_a_purpose_is_a_code_and_never_prose(service, receipt, purpose):
    """Prose names people. The answer does not repeat it, and nothing was looked at."""
    headers = {"sealtrail-purpose": purpose.encode("latin-1")}

    looks, answer = looked(
        service, lambda: service.get(f"/v1/events/{receipt['event_id']}", headers=headers)
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/headers/sealtrail-purpose"
    assert looks == []
    if len(purpose) > 5:
        assert purpose not in answer.text


def test_the_access_book_is_read_with_one_entry_and_a_snapshot_before_it(service, receipt):
    """A look at the looks is a look, once; what it shows ends before itself, so it ends."""
    service.get(f"/v1/events/{receipt['event_id']}")
    book = f"/v1/books/{service.house.tenant}-access"
    size = service.house.access_book.reader.head().size
    newest = service.looks[-1]

    index, width = divmod(size, 256)
    last = f"{book}/tile/entries/{index:03d}.p/{width}"
    looks, bundle = looked(service, lambda: service.get(last))
    beyond = service.get(f"{book}/tile/entries/{index:03d}.p/{min(width + 2, 255)}")

    assert bundle.status_code == 200
    assert newest["event_id"].encode() in bundle.content
    assert [look["body"]["book"] for look in looks] == [f"{service.house.tenant}-access"]
    assert looks[0]["body"]["book_size"] == size
    assert looks[0]["event_id"].encode() not in bundle.content
    assert beyond.status_code == 404
    seen = service.get(f"{book}/events/{newest['event_id']}")
    assert seen.json()["content"]["type"] == "ACCESS"
    unseen = service.get(f"/v1/events/{newest['event_id']}")
    assert unseen.status_code == 404


def test_a_look_that_cannot_be_recorded_shows_nothing(own):
    """An administrator who damages the access Book to look unseen sees 503, and no content.

    Caught by the head's tag. The main Book is another one: it records on.
    """
    receipt = own.post(attempt()).json()
    schema = own.house.access_book.row.schema
    with own.house.owner() as owner:
        owner.execute(f"UPDATE {schema}.head SET tag = sha256(tag)")

    paths = [f"/v1/events/{receipt['event_id']}", f"/v1/events/{receipt['event_id']}/proof",
             "/v1/tile/entries/000.p/1", f"/v1/events/{event_id()}"]  # fmt: skip
    answers = [own.get(path) for path in paths]
    order = {"event_ids": [receipt["event_id"]]}
    answers.append(own.ask("POST", "/v1/packets", token=own.auditor, json=order))

    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["code"] == "look-unrecorded"
        assert receipt["entry"][:64] not in answer.text
    assert own.post(attempt()).status_code == 201
    assert own.ask("GET", "/readyz").json()["facts"] == {
        f"{own.house.tenant}-access": "head-forged"
    }


def test_a_revoked_token_stops_working_within_seconds(own):
    """CACHE_S says how many; the entries that it left stay readable."""
    from ledger import access
    from ledger.database import connect

    receipt = own.post(attempt()).json()
    with connect(own.house.owner_url) as owner:
        access.revoke(owner, access.credential_of(owner, own.pipeline))
    assert access.CACHE_S <= 5

    from api.identity import identify
    from ledger.errors import Unauthenticated

    with pytest.raises(Unauthenticated):
        identify(access.Credentials(own.house.database), f"Bearer {own.pipeline}")
    assert own.get(f"/v1/events/{receipt['event_id']}").status_code == 200
