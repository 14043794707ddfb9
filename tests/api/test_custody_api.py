# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds and erasures over HTTP: who may, what is answered, and what is recorded of it."""

import pytest
from house import attempt, event_id, house_in
from served_house import serving

from ledger.holds import Holds

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

COURT = {"matter": "2026-CV-01234", "authority": "court-order"}
BASIS = "gdpr-17-1-b"
NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture(scope="module")
def own(postgres, tmp_path_factory):
    """A tenant whose holds and erasures are this module's."""
    with house_in(postgres, tmp_path_factory.mktemp("custody")) as house, serving(house) as made:
        made.second = house.token("auditor", "person", "auditor-2")
        made.program = house.token("auditor", "pipeline", "exporter")
        yield made


def send(own, path, body, token=None):
    return own.ask("POST", path, token=token or own.auditor, json=body)


def place(own, **scope):
    answer = send(own, "/v1/holds", {**COURT, "scope": scope})
    assert answer.status_code == 201, answer.text
    return answer.json()["hold_id"]


def release(own, hold_id, **more):
    return send(own, f"/v1/holds/{hold_id}/release", {"authority": "court-order", **more})


def problem(answer):
    return answer.json()["type"].rpartition(":")[2]


def newest(own, type_):
    return own.house.book.reader.of_topic(f"{type_}/1", limit=1)[0].entry.value


def person(own, name):
    """An event of somebody who is nobody else's test's."""
    return own.post(attempt(on_behalf_of=name)).json()["event_id"]


# Holds


def test_a_hold_is_placed_seen_and_released(own):
    """Each step is an entry that names the credential; looking is a look."""
    id_ = own.post(attempt()).json()["event_id"]
    hold_id, looks = place(own, event_ids=[id_]), len(own.looks)

    seen = own.get(f"/v1/holds/{hold_id}").json()
    listed = own.get("/v1/holds").json()["holds"]
    done = release(own, hold_id, reason="settled").json()

    assert (seen["matter"], seen["entries"], seen["complete"]) == ("2026-CV-01234", 1, True)
    assert seen["placed"]["by"] == newest(own, "LEGAL_HOLD_PLACED")["actor"]["credential"]
    assert hold_id in {hold["hold_id"] for hold in listed}
    assert "released" in done
    assert own.get(f"/v1/holds/{hold_id}").json()["entries"] == 0
    assert [look["body"]["path"] for look in own.looks[looks:]] == [
        "/v1/holds/{id}", "/v1/holds", "/v1/holds/{id}",
    ]  # fmt: skip
    assert newest(own, "LEGAL_HOLD_RELEASED")["body"]["reason"] == "settled"


def test_a_hold_on_a_person_names_every_subject_of_theirs(own):
    """Also one whose erasure is pending, and one that has recorded nothing yet."""
    before = person(own, "petra")
    case = send(own, "/v1/erasures", {"person": "petra", "basis": BASIS}).json()
    path = f"/v1/erasures/{case['erasure_id']}/approve"
    assert send(own, path, {"person": "petra"}, own.second).json()["state"] == "pending"
    after = person(own, "petra")

    answer = send(own, "/v1/holds", {**COURT, "persons": ["petra", "nobody-yet"]})
    first = person(own, "nobody-yet")
    hold = answer.json()

    assert "petra" not in answer.text
    (scope,) = hold["scopes"]
    assert case["subject_ref"] in scope["subjects"]
    assert len(scope["subjects"]) == 3
    held = Holds.of(own.house.book).on_events([before, after, first])
    assert set(held) == {before, after, first}
    release(own, hold["hold_id"])


def test_a_hold_that_is_sent_again_is_one_hold(own):
    """After a lost answer; another hold of that id is a conflict, and so is a released one."""
    body = {**COURT, "hold_id": event_id(), "scope": {"query": {"types": ["EXPORT"]}}}

    first, again = (send(own, "/v1/holds", body) for _ in range(2))
    other = send(own, "/v1/holds", {**body, "matter": "another"})
    release(own, body["hold_id"])
    late = send(own, "/v1/holds", body)

    assert (first.status_code, first.json()) == (201, again.json())
    assert (other.status_code, problem(other)) == (409, "hold-exists")
    assert (late.status_code, problem(late)) == (409, "hold-released")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scope": {}}, "/scope"),
        ({"scope": {"event_ids": ["@lice"]}}, "/scope/event_ids/0"),
        ({"scope": {"query": {"a cat": "a cat"}}}, "/scope/query"),
        ({"scope": {"keys": ["chain/x/0"]}}, "/scope/keys/0"),
        ({"scope": {"subjects": [{}]}, "persons": ["petra"]}, "/scope/subjects/0"),
        ({"matter": "Doe v. Roe"}, "/matter"),
        ({"authority": "@"}, "/authority"),
        ({"hold_id": "7"}, "/hold_id"),
        ({"scope": []}, ""),
        ({"tomorrow": "tomorrow"}, ""),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_hold_is_named_by_field(own, changes, pointer):
    """By field and rule; a value that was sent is not repeated."""
    body = {**COURT, "scope": {"query": {"types": ["GEN"]}}, **changes}

    answer = send(own, "/v1/holds", body)

    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    for sent in ("@lice", "a cat", "Doe", "tomorrow"):
        assert sent not in answer.text


def test_only_a_person_who_audits_decides_about_custody(own):
    """Neither a pipeline nor a program with an auditor's token, nor nobody."""
    hold_id = place(own, query={"types": ["EXPORT"]})
    paths = {
        "/v1/holds": {**COURT, "scope": {"query": {"types": ["GEN"]}}},
        f"/v1/holds/{hold_id}/release": {"authority": "x"},
        "/v1/erasures": {"person": "employee-7", "basis": BASIS},
        f"/v1/erasures/{event_id()}/approve": {"person": "employee-7"},
        f"/v1/erasures/{event_id()}/withdraw": {"reason": "mistaken"},
    }

    for path, body in paths.items():
        assert own.ask("POST", path, json=body).status_code == 401
        for token in (own.pipeline, own.program):
            assert send(own, path, body, token).status_code == 403
    assert own.ask("GET", "/v1/holds", token=own.pipeline).status_code == 403
    assert own.ask("GET", "/v1/erasures", token=own.pipeline).status_code == 403
    release(own, hold_id)


def test_what_is_not_there_is_not_found(own):
    """Also an id that is none, and another tenant's Book."""
    for path in (f"/v1/holds/{event_id()}", "/v1/holds/x", f"/v1/erasures/{event_id()}"):
        assert own.get(path).status_code == 404
    for path in (f"/v1/holds/{event_id()}/release", "/v1/holds/x/release"):
        assert send(own, path, {"authority": "x"}).status_code == 404
    assert send(own, "/v1/books/nobody/holds", {**COURT, "scope": {}}).status_code == 404


# Erasures


def test_an_erasure_from_the_dry_run_to_the_end(own):
    """Two persons decide; reading answers with the erasure's id from then on."""
    id_ = person(own, "alice")
    plan = send(own, "/v1/erasures/plan", {"person": "alice"}).json()
    asked = send(own, "/v1/erasures", {"person": "alice", "basis": BASIS})
    case = asked.json()
    path = f"/v1/erasures/{case['erasure_id']}"

    same = send(own, f"{path}/approve", {"person": "alice"})
    wrong = send(own, f"{path}/approve", {"person": "bob"}, own.second)
    approved = send(own, f"{path}/approve", {"person": "alice"}, own.second).json()
    shown = own.get(f"/v1/events/{id_}?disclose=prompt.user")

    assert plan["goes"]["events"] == 1
    assert plan["held_by"] == []
    assert (asked.status_code, case["state"]) == (201, "requested")
    assert (same.status_code, problem(same)) == (403, "second-person-needed")
    assert wrong.status_code == 404
    assert approved["state"] == "pending"
    assert shown.status_code == 410
    assert case["erasure_id"] in shown.text
    assert own.get(path).json()["state"] == "pending"
    assert case["erasure_id"] in own.get("/v1/erasures").text
    assert "alice" not in own.get("/v1/erasures").text
    assert own.get(f"/v1/events/{id_}/proof").status_code == 200


def test_asking_about_somebody_is_a_look(own):
    """A dry run tells that somebody is known here, or not; both are entered before the answer."""
    looks = len(own.looks)

    answer = send(own, "/v1/erasures/plan", {"person": "nobody-at-all"})

    assert (answer.status_code, problem(answer)) == (404, "subject-unknown")
    assert "nobody-at-all" not in answer.text
    assert [look["body"]["path"] for look in own.looks[looks:]] == ["/v1/erasures/plan"]
    assert "nobody-at-all" not in str(own.looks[looks:])


def test_a_held_person_is_erased_later(own):
    """The answer says which hold it waits for."""
    id_ = person(own, "henry")
    hold_id = place(own, event_ids=[id_])
    case = send(own, "/v1/erasures", {"person": "henry", "basis": BASIS}).json()

    plan = send(own, "/v1/erasures/plan", {"person": "henry"}).json()
    approved = send(
        own, f"/v1/erasures/{case['erasure_id']}/approve", {"person": "henry"}, own.second
    ).json()

    assert plan["held_by"] == [hold_id]
    assert (approved["state"], approved["hold_ids"]) == ("deferred", [hold_id])
    release(own, hold_id)


def test_a_request_is_given_up(own):
    """With a reason in a code; afterwards it cannot be approved."""
    person(own, "wilma")
    case = send(own, "/v1/erasures", {"person": "wilma", "basis": BASIS}).json()
    path = f"/v1/erasures/{case['erasure_id']}"

    wrong = send(own, f"{path}/withdraw", {"reason": "@"})
    given_up = send(own, f"{path}/withdraw", {"reason": "mistaken"}).json()
    late = send(own, f"{path}/approve", {"person": "wilma"}, own.second)

    assert [one["pointer"] for one in wrong.json()["errors"]] == ["/reason"]
    assert given_up["state"] == "withdrawn"
    assert (late.status_code, problem(late)) == (409, "erasure-state")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"basis": BASIS}, 400),
        ({"person": "x", "subject_ref": NOBODY, "basis": BASIS}, 400),
        ({"person": "", "basis": BASIS}, 422),
        ({"person": "x"}, 422),
        ({"person": 7, "basis": BASIS}, 422),
        ({"subject_ref": "x", "basis": BASIS}, 404),
        ({"subject_ref": NOBODY, "basis": BASIS}, 404),
    ],
    ids=str,
)
def test_a_request_that_names_nobody_is_refused(own, body, status):
    """Or two, or somebody unknown."""
    assert send(own, "/v1/erasures", body).status_code == status
