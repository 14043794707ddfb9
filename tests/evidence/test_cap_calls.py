# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls in CAP packs: open, escalated, held back, erased; which day and which part they are in."""

import json

import cap_checker
import cap_story
import pytest
from cap_world import CAP, by_type, events_in, key_of, needs_cap, pack_of
from house import attempt, deny, event_id, export, gen, ingest

from evidence.cap_range import CapRequest
from ledger import clock

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def quiet(house):
    (house.directory / "trust.json").write_bytes(house.trust().print())
    return house


def test_an_open_attempt_is_named_and_the_pack_is_not_complete(quiet):
    """Nothing is made up to make the sum come out; the checker says the same."""
    one, two = attempt(), attempt()
    quiet.post(one, two, gen(one["aggregate_id"]))

    pack = pack_of(quiet)

    said = json.loads(cap_checker.files_of(pack.data)["manifest.json"])
    found = cap_checker.completeness(events_in(pack))
    assert not pack.complete
    assert cap_checker.check(pack.data, key_of(quiet)) == []
    assert said["CompletenessVerification"]["MissingOutcomes"] == [two["event_id"]]
    assert found["missingOutcomes"] == [two["event_id"]]
    assert said["ConformanceLevel"] == "Bronze"


def test_an_escalated_attempt_is_pending_until_somebody_decides(quiet):
    """Then its outcome is the one that followed, and names escalation and reviewer."""
    one = attempt()
    stream = one["aggregate_id"]
    escalated = {
        **deny(stream),
        "type": "GEN_ESCALATED",
        "body": {
            "escalation": {"id": "case-1", "queue": "minors", "priority": "high"},
            "reason_code": "unsure",
            "risk_category": "CSAM_RISK",
            "risk_score": "0.5",
        },
    }
    decided = {
        **deny(stream),
        "type": "HUMAN_REVIEW",
        "body": {"review": {"queue": "minors", "state": "decided"}, "outcome": "DENY"},
        "sealed": {"reviewer": "officer-3"},
    }
    quiet.post(one, escalated)
    (waiting,) = by_type(events_in(pack_of(quiet)), "GEN_ESCALATE")
    quiet.post(decided, deny(stream))
    events = events_in(pack_of(quiet))

    assert waiting["FinalDecision"] == {"outcome": "PENDING"}
    assert waiting["EscalationDetails"] == {"assignedTo": "minors", "priority": "HIGH"}
    (denied,) = by_type(events, "GEN_DENY")
    assert not by_type(events, "GEN_ESCALATE")
    assert denied["EscalationID"] == escalated["event_id"]
    assert denied["FinalDecision"]["outcome"] == "DENY"
    assert denied["FinalDecision"]["reviewer"].startswith("sha256:")


@needs_cap
def test_an_escalation_is_of_caps_form(quiet):
    """The one type that the story does not have."""
    one = attempt()
    escalated = {
        **deny(one["aggregate_id"]),
        "type": "GEN_ESCALATED",
        "body": {"escalation": {"id": "case-1", "queue": "minors"}, "reason_code": "unsure"},
    }
    quiet.post(one, escalated)

    pack = pack_of(quiet)

    assert cap_checker.check(pack.data, key_of(quiet), cap_checker.Schemas(CAP / "schemas")) == []
    assert pack.complete


@needs_cap
def test_the_least_that_can_be_recorded_is_of_caps_form(quiet):
    """Nothing that is optional here is taken for granted there; what is filled in is named."""
    one, run = attempt(sealed={}), event_id()
    one["body"]["input_type"] = "multimodal"  # The schemas know no such word.
    started, done = cap_story.train(run)
    for event in (started, done):
        for name in ("base_model", "config", "context"):
            event["body"]["train"].pop(name)
    delivered = export("picture-1")
    quiet.post(ingest("asset_1"), started, done, one, gen(one["aggregate_id"], "picture-1"))
    quiet.post(delivered)

    pack = pack_of(quiet)

    events = events_in(pack)
    assert cap_checker.check(pack.data, key_of(quiet), cap_checker.Schemas(CAP / "schemas")) == []
    assumed = {one["EventType"]: one["Sealtrail"].get("Assumed") for one in events}
    assert assumed["GEN_ATTEMPT"] == ["PolicyID"]
    assert assumed["EXPORT"] == ["Destination"]
    (asked,) = by_type(events, "GEN_ATTEMPT")
    assert (asked["InputType"], asked["Sealtrail"]["InputType"]) == ("text+image", "multimodal")
    assert assumed["INGEST"] is assumed["TRAIN"] is assumed["GEN"] is None
    assert by_type(events, "INGEST")[0]["Asset"]["AssetID"].endswith(":asset_5f1")


def test_a_quarantined_output_is_followed(quiet):
    """Where it lies, who looks at it, and what became of it, also after the days of the pack."""
    one = attempt()
    stream = one["aggregate_id"]
    held = gen(stream, "held-1")
    held["body"]["outputs"][0] |= {
        "disposition": "quarantined",
        "quarantine": {"location": "vault 3", "access_level": "reviewer-only", "auto_delete": True},
    }
    released = {
        **deny(stream),
        "type": "OUTPUT_RELEASED",
        "body": {"asset_id": "held-1", "reason_code": "harmless"},
        "sealed": {"released_by": "officer-3"},
    }
    quiet.post(one, cap_story.moderation(stream, rule_ids=["r-1", "r-2"]), held)
    (waiting,) = by_type(events_in(pack_of(quiet)), "GEN_QUARANTINE")
    quiet.post(released)
    (freed,) = by_type(events_in(pack_of(quiet)), "GEN_QUARANTINE")

    assert waiting["QuarantineReason"] == "r-1 r-2"
    assert waiting["QuarantineDetails"] == {
        "location": "vault 3",
        "accessLevel": "REVIEWER_ONLY",
        "autoDeleteOnExpiry": True,
    }
    assert waiting["ReviewStatus"] == {"status": "PENDING"}
    assert freed["ReviewStatus"]["status"] == "RELEASED"
    assert freed["ReviewStatus"]["finalDecision"] == "RELEASE"


def test_a_call_belongs_to_the_day_of_its_attempt(noon):
    """Its outcome of after midnight goes with it, and into no other pack."""
    (noon.directory / "trust.json").write_bytes(noon.trust().print())
    one = attempt()
    day = clock.day_of(noon.now_ms())
    noon.post(one)
    noon.now_ms.move(hours=13)
    noon.post(gen(one["aggregate_id"]))

    first, second = (
        pack_of(noon, first=day, last=day),
        pack_of(noon, first=clock.day_of(noon.now_ms())),
    )

    assert first.complete
    assert first.events == 2
    assert second.complete
    assert second.events == 0
    both = pack_of(noon, first=day)
    assert both.events == 2


def test_a_long_range_comes_in_parts(quiet, monkeypatch):
    """Each attempt is in just one of them, whole; a part that is not there is refused."""
    import evidence.cap_range as here
    from ledger.errors import MalformedEvent

    calls = [attempt() for _ in range(5)]
    quiet.post(*calls)
    quiet.post(*(gen(one["aggregate_id"]) for one in calls))
    monkeypatch.setattr(here, "PART_ENTRIES", 4)

    packs = [pack_of(quiet, part=part) for part in (1, 2, 3)]

    assert [one.parts for one in packs] == [3, 3, 3]
    assert [one.events for one in packs] == [8, 2, 0]
    assert all(one.complete for one in packs)
    with pytest.raises(MalformedEvent, match="3 parts"):
        pack_of(quiet, part=4)


@pytest.mark.parametrize(
    "changes",
    [{"first": "2026-02-30"}, {"first": "2026-01-02", "last": "2026-01-01"}, {"part": 0},
     {"first": "2020-01-01"}, {"last": "soon"}],
    ids=str,
)  # fmt: skip
def test_days_that_make_no_sense_are_refused(changes):
    """Before anything is read."""
    from ledger.errors import MalformedEvent

    with pytest.raises(MalformedEvent):
        CapRequest(**{"first": "2026-01-14", "last": "2026-01-14", **changes}).check()


def test_a_pack_whose_key_nobody_can_find_is_not_made(quiet):
    """A stranger could not check it."""
    from evidence.cap_sign import PacketKeyMissing

    trust = json.loads((quiet.directory / "trust.json").read_bytes())
    del trust["packet_keys"]
    (quiet.directory / "trust.json").write_text(json.dumps(trust))

    with pytest.raises(PacketKeyMissing):
        pack_of(quiet)


def test_what_is_erased_is_counted_all_the_same(quiet):
    """Nobody can say any more which commitment was the prompt's; the whole list stands for it."""
    from custody_desk import Desk

    desk = Desk(quiet)
    desk.ask_and_approve("carol")

    events = events_in(pack_of(quiet))

    of = {one["EventID"]: one["Sealtrail"]["PromptHashOf"] for one in events}
    assert [of[one] for one in desk.ids] == ["prompt.user", "prompt.user", "_sd"]
    assert "ActorHash" not in next(one for one in events if one["EventID"] == desk.ids[2])


def test_no_pack_is_made_of_what_is_gone_without_an_erasure(quiet):
    """An administrator who marks a person as erased has no pack that says so."""
    from ledger.erasure.lawful import ErasureUnknown

    quiet.post(attempt())
    with quiet.owner() as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute(
            f"UPDATE {quiet.schema}.subject SET state = 'erased', wrapped_key = NULL,"
            " identity = NULL, erasure_id = '01a1fd54-3a05-7000-8000-000000000000'"
            " WHERE state = 'live'"
        )

    with pytest.raises(ErasureUnknown):
        pack_of(quiet)


def test_another_key_signs_from_its_rotation_on(quiet):
    """What the old one signed stays provable; the old one signs nothing any more."""
    from evidence.cap_sign import rotate_packet_key
    from ledger.keys import KeyDestroyed, packet_keys

    trust = quiet.directory / "trust.json"
    before, old = pack_of(quiet), key_of(quiet)

    key = rotate_packet_key(
        quiet.keys, quiet.origin, lambda _: trust.write_bytes(quiet.trust().print())
    )

    after = pack_of(quiet)
    first, second = (one.key for one in quiet.trust().packet_keys[quiet.origin])
    assert (first, second) == (old, key.key)
    assert cap_checker.check(before.data, first) == cap_checker.check(after.data, second) == []
    assert cap_checker.check(after.data, first) != []
    with pytest.raises(KeyDestroyed):
        quiet.keys.sign(packet_keys(quiet.keys, quiet.origin)[0], b"another pack")


def test_a_keystore_that_was_lost_takes_no_key_out_of_the_trust_file(quiet):
    """Packs that the lost key signed are still to be checked; the new one stands last."""
    import dataclasses

    from ledger.settings import Settings
    from scripts.assembly import publish_packet_keys
    from sealtrail.verify.note import VerifierKey
    from sealtrail.verify.trust import Trust

    trust_file = quiet.directory / "trust.json"
    settings = dataclasses.replace(Settings.from_environment({}), trust_file=trust_file)
    (old,) = quiet.trust().packet_keys[quiet.origin]
    new = VerifierKey.ed25519(old.name, quiet.trust().origins[quiet.origin][0].key)

    for _ in range(2):
        publish_packet_keys(settings, quiet.origin, [new])

    published = Trust.parse(trust_file.read_bytes())
    assert published.packet_keys == {quiet.origin: (old, new)}
    assert published.origins == quiet.trust().origins
