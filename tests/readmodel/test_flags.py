# SPDX-License-Identifier: GPL-3.0-or-later
"""Registers as the log tells them, and what they say against an entry at its own position."""

import pytest
from house import attempt, event_id, ingest, record_key

from ledger.readmodel.follower import rebuild
from ledger.readmodel.query import parse
from ledger.readmodel.search import Search
from ledger.readmodel.searching import Searching

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

MODEL = "urn:cap:model:acme:painter"
D, OTHER = (f"sha256:{pair * 32}" for pair in ("ab", "cd"))


def said(type_, id_, **body):
    """An event of a register."""
    return {
        "event_id": event_id(),
        "type": type_,
        "schema": 1,
        "aggregate_id": id_,
        "on_behalf_of": "employee-7",
        "body": body,
        "record_key": record_key(),
    }


def registered(version="3", digest=D):
    model = {"provider": "acme", "name": "painter", "version": version}
    manifest = {"digest": digest, "format": "cyclonedx-1.7"}
    return said("MODEL_REGISTERED", MODEL, model=model, manifest=manifest, change_ticket="CHG-1")


def granted(id_, action="opt_in", **more):
    consent = {"text_id": "likeness", "text_version": "2", "text_digest": D, "method": "click"}
    return said("CONSENT_GRANTED", id_, consent={**consent, "action": action, **more})


def published(type_, id_, version, **more):
    return said(f"{type_}_PUBLISHED", id_, version=version, digest=D, **more)


def thing(id_, version, digest=None):
    """What an event says of a thing with versions."""
    return {"id": id_, "version": version, **({"digest": digest} if digest else {})}


def asks(version="3", *, manifest=None, template=None, policy=None, consents=()):
    body = {"operation": "generate", "input_type": "text"}
    body["model"] = {"provider": "acme", "name": "painter", "version": version}
    if manifest is not None:
        body["model"]["manifest"] = manifest
    if template is not None:
        body["prompt"] = {"template": thing(*template)}
    if policy is not None:
        body["policy"] = thing(*policy)
    if consents:
        body["consent_ids"] = list(consents)
    return attempt(body=body)


def flags(house):
    """What was flagged: the flags of each entry that has some, by position."""
    search = Search(house.database, house.book.vault, house.schema)
    page = search.page(parse(""), limit=100, descending=False)
    return {one.position: one.values["flag"] for one in page.found if "flag" in one.values}


def test_a_model_is_judged_by_the_register_of_its_own_moment(house):
    """Before it was registered, in force, another version, another manifest, and retired."""
    house.post(asks(), registered(), asks(manifest=D), asks("4"), asks(manifest=OTHER))
    house.post(said("MODEL_RETIRED", MODEL, model={"version": "3"}, reason_code="end-of-life"))
    house.post(asks(), registered("4"), asks("4"))

    assert flags(house) == {
        0: ["unknown-model"],
        3: ["unknown-model"],
        4: ["model-differs"],
        6: ["retired-model"],
    }


def test_templates_and_policies_are_judged_by_version_and_digest(house):
    """A version that nobody published, other bytes under a known version, and one taken back."""
    template, policy = ("portrait", "7", D), ("images", "12", D)
    house.post(
        registered(),
        published("PROMPT_TEMPLATE", "portrait", "7", variables=["subject"]),
        published("POLICY", "images", "12"),
        asks(template=template, policy=policy),  # 3
        asks(template=("portrait", "8"), policy=("house", "1")),  # 4
        asks(template=("portrait", "7", OTHER), policy=("images", "12", OTHER)),  # 5
        said("PROMPT_TEMPLATE_RETIRED", "portrait", reason_code="replaced"),
        said("POLICY_RETIRED", "images", version="12", reason_code="replaced"),
        asks(template=template, policy=policy),  # 8
    )

    assert flags(house) == {
        4: ["unknown-policy", "unknown-template"],
        5: ["policy-differs", "template-differs"],
        8: ["retired-policy", "retired-template"],
    }


def test_consents_are_judged_as_they_stood(house):
    """Nobody gave one, one that was a no, one whose time is over; and what came later is later."""
    house.post(
        registered(),
        published("CONSENT_TEXT", "likeness", "2", locale="en"),
        granted("yes"),
        asks(consents=["yes", "nobodys"]),  # 3
        said("CONSENT_REVOKED", "yes", reason_code="requested"),
    )

    assert flags(house) == {3: ["unknown-consent"]}
    with house.owner() as owner:
        rows = owner.execute(
            f"SELECT since, status, digest, ticket FROM {house.schema}.register"
            " WHERE kind IN ('consent', 'model') ORDER BY since"
        ).fetchall()
    assert rows == [
        (0, "registered", D, "CHG-1"),
        (2, "granted", D, None),
        (4, "revoked", None, None),
    ]


def test_a_consent_is_judged_however_it_is_named(house):
    """By a call's link or as the basis of rights; not by a link that may be to an event."""
    link = {"rel": "under-consent", "id": "nobodys"}
    rights = {"basis": "LICENSED", "consent_ref": "given"}
    linked = [asks(), asks()]
    linked[0]["links"], linked[1]["links"] = [link], [link | {"id": event_id()}]
    ingested = ingest()
    ingested["body"]["rights"] = rights
    house.post(
        registered(),
        published("CONSENT_TEXT", "likeness", "2", locale="en"),
        granted("given"),
        *linked,  # 3, 4
        said("CONSENT_REVOKED", "given", reason_code="requested"),
        ingested,  # 6
    )

    assert flags(house) == {3: ["unknown-consent"], 6: ["revoked-consent"]}


def test_words_of_a_published_template_find_what_was_made_with_it(house):
    """Its title and the names of its variables, which stand in no generation."""
    house.post(
        registered(),
        published(
            "PROMPT_TEMPLATE", "portrait", "7", title="Studio portraits", variables=["backdrop"]
        ),
        asks(template=("portrait", "7", D)),
        asks(),
    )
    search = Search(house.database, house.book.vault, house.schema)

    for words in ("backdrop", '"studio portraits"', "Studio -nothing"):
        page = search.page(parse(words), limit=10)
        assert [one.position for one in page.found] == [2, 1]


def test_flags_are_the_same_after_a_rebuild(house):
    """By the rows before each entry, not by the newest ones."""
    house.post(asks(), registered(), asks(), granted("c"), asks(consents=["c", "d"]))
    before = flags(house)

    rebuild(house.database, house.schema, [Searching()])

    assert flags(house) == before
    assert before == {0: ["unknown-model"], 3: ["unknown-text"], 4: ["unknown-consent"]}
