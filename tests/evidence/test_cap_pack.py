# SPDX-License-Identifier: GPL-3.0-or-later
"""A CAP pack of a day is what CAP's own text asks for, whoever checks it."""

import json
from pathlib import Path

import cap_checker
import cap_story
import pytest
from house import attempt, deny, event_id, export, gen, house_in, ingest

from anchoring.night import Night
from evidence.cap_pack import build_cap_pack
from evidence.cap_range import CapRequest
from ledger import clock

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

CAP = Path(__file__).resolve().parents[2] / ".." / "shared" / "vectors" / "cap-spec"
needs_cap = pytest.mark.skipif(not CAP.is_dir(), reason="CAP's schemas (shared/vectors) not here")


def today():
    return clock.day_of(clock.now_ms())


def pack_of(house, *, first=None, last=None, **more):
    request = CapRequest(first=first or today(), last=last or today(), **more)
    return build_cap_pack(house.book, request, trust_file=house.directory / "trust.json")


def key_of(house):
    """The signer's public key as the published trust has it."""
    trust = json.loads((house.directory / "trust.json").read_bytes())
    (vkey,) = (key for one in trust["packet_keys"] for key in one["vkeys"])
    return cap_checker.base64.b64decode(vkey.split("+", 2)[2])[1:]


@pytest.fixture(scope="module")
def studio(postgres, authority, tmp_path_factory):
    """A house with one day's story, anchored."""
    with house_in(postgres, tmp_path_factory.mktemp("studio")) as house:
        roots = list(authority.authority().roots)
        (house.directory / "trust.json").write_bytes(house.trust(roots).print())
        house.calls = cap_story.tell(house)
        Night(house.book, [authority.authority()]).interim()
        yield house


@pytest.fixture(scope="module")
def pack(studio):
    return pack_of(studio)


@pytest.fixture(scope="module")
def events(pack):
    return cap_checker.events_of(cap_checker.files_of(pack.data))


def by_type(events, type_):
    return [one for one in events if one["EventType"] == type_]


def test_a_stranger_finds_nothing_wrong(studio, pack):
    """With CAP's text and our public key alone: hashes, chain, signatures, counts, checksums."""
    assert cap_checker.check(pack.data, key_of(studio)) == []
    assert pack.complete


@needs_cap
def test_each_event_is_what_caps_own_schemas_ask_for(studio, pack, events):
    """All nine types that the schemas know, and v1.0's GEN_ERROR by the common one."""
    schemas = cap_checker.Schemas(CAP / "schemas")

    assert cap_checker.check(pack.data, key_of(studio), schemas) == []
    assert {one["EventType"] for one in events} == {
        "INGEST", "TRAIN", "EXPORT", "GEN_ATTEMPT", "GEN", "GEN_DENY", "GEN_ERROR", "GEN_WARN",
        "GEN_QUARANTINE",
    }  # fmt: skip


@needs_cap
def test_a_schema_is_asked_for_real(events):
    """The check above would see a member that is missing or misspelled."""
    schemas = cap_checker.Schemas(CAP / "schemas")
    (denied, *_) = by_type(events, "GEN_DENY")

    assert list(schemas.faults(denied)) == []
    assert list(schemas.faults({**denied, "RiskScore": 1.5})) != []
    assert list(schemas.faults({**denied, "EventID": "no uuid"})) != []
    assert list(schemas.faults({k: v for k, v in denied.items() if k != "AttemptID"})) != []


def test_no_value_of_a_person_is_in_a_pack(pack):
    """Only digests of disclosures; the prompt, the person and the address stay in the vault."""
    inside = b"".join(cap_checker.files_of(pack.data).values())

    for value in (b"a lighthouse", b"employee-7", b"192.0.2.7", b"somebody", b"design"):
        assert value not in inside


def test_whoever_is_shown_a_disclosure_can_hold_it_against_the_event(studio, events):
    """PromptHash is the SHA-256 of the prompt's RFC 9901 disclosure, in hexadecimal."""
    stream = studio.calls["denied"]
    (attempt_,) = (one for one in events if one["Sealtrail"]["AggregateID"] == stream
                   and one["EventType"] == "GEN_ATTEMPT")  # fmt: skip

    opened = studio.book.vault.open(attempt_["EventID"])

    def hashed(name):
        return "sha256:" + cap_checker.hashlib.sha256(opened.disclosures[name].encode()).hexdigest()

    assert attempt_["PromptHash"] == hashed("prompt.user")
    assert attempt_["ActorHash"] == hashed("actor.subject_id")
    assert attempt_["ReferenceImageHash"] == hashed("inputs[0].sha256")
    assert attempt_["Context"]["ClientIP_Hash"] == hashed("net.ip")
    assert attempt_["Sealtrail"]["PromptHashOf"] == "prompt.user"


def test_what_the_record_says_of_a_refusal_is_said_in_caps_words(events):
    """Category, score and classifier come from the filter's judgement before it."""
    denied = next(one for one in by_type(events, "GEN_DENY") if one["RiskCategory"] == "NCII_RISK")

    assert denied["RiskSubCategories"] == ["UPLOADED_PERSON"]
    assert denied["RiskScore"] == 0.94
    assert denied["ModelDecision"] == "DENY"
    assert denied["HumanOverride"] is False
    assert denied["DecisionMetadata"] == {
        "processingTime": 50,
        "classifierVersion": "ncii-detect 2.1.0",
        "confidenceThreshold": 0.85,
    }
    assert "Assumed" not in denied["Sealtrail"]


def test_what_cap_asks_for_and_nobody_recorded_is_named(events):
    """A refusal that nobody measured, an attempt that names no policy and has no prompt."""
    bare = next(one for one in by_type(events, "GEN_DENY") if "Assumed" in one["Sealtrail"])
    asked = next(one for one in events if one["EventID"] == bare["AttemptID"])

    assert bare["Sealtrail"]["Assumed"] == ["RiskCategory", "RiskScore"]
    assert (bare["RiskCategory"], bare["RiskScore"]) == ("OTHER", 1)
    assert asked["Sealtrail"]["Assumed"] == ["PolicyID"]
    assert asked["Sealtrail"]["PromptHashOf"] == "_sd"


def test_a_warning_and_a_quarantine_are_outcomes_of_their_own(events):
    """Which output is meant, and a category that CAP does not know, are said too."""
    (warned,), (held,) = by_type(events, "GEN_WARN"), by_type(events, "GEN_QUARANTINE")

    assert warned["WarningMessage"] == "w-7"
    assert warned["UserAcknowledged"] is True
    assert (warned["RiskCategory"], warned["RiskSubCategories"][0]) == (
        "OTHER",
        "COPYRIGHT_VIOLATION",
    )
    assert held["OutputAssetID"].endswith(":h-1")
    assert held["OutputAssetHash"] != cap_story.D  # It was sealed, so its commitment stands here.
    assert [one["AssetID"][-3:] for one in held["Sealtrail"]["Outputs"]] == ["h-0", "h-1"]
    assert held["ReviewStatus"] == {"status": "PENDING"}


def test_identifiers_become_caps_names_and_can_be_read_back(events):
    """A URN stays; what is none gets one that no other identifier has."""
    (train,), (delivered,) = by_type(events, "TRAIN"), by_type(events, "EXPORT")
    (ingested,) = by_type(events, "INGEST")

    assert ingested["Asset"]["AssetID"] == "urn:cap:asset:acme:char-1"
    assert train["OutputModelID"] == "urn:cap:model:acme:painter"
    assert train["BaseModelID"].endswith(":flux_2e1")
    assert train["InputAssetIDs"][0].endswith(":photos_2f2026")
    assert delivered["AssetID"].endswith(":gen_2fchar_3a1")
    assert delivered["AssetID"] == by_type(events, "GEN")[0]["Generation"]["OutputAssetID"]
    assert train["TrainingConfig"] == {"epochs": 3, "learningRate": 0.0000015}
    assert delivered["Sealtrail"]["RecipientType"] == "COURT"
    assert ingested["Rights"]["PermittedUse"]["Attribution"] is True


def test_statistics_and_manifest_count_what_is_there(pack):
    """Six attempts, each with its own end."""
    files = cap_checker.files_of(pack.data)
    manifest = json.loads(files["manifest.json"])
    stats = json.loads(files["statistics/refusal_stats.json"])

    assert manifest["CompletenessVerification"] == {
        "TotalAttempts": 6,
        "TotalGEN": 1,
        "TotalGEN_DENY": 2,
        "TotalGEN_ERROR": 1,
        "TotalGEN_WARN": 1,
        "TotalGEN_ESCALATE": 0,
        "TotalGEN_QUARANTINE": 1,
        "InvariantValid": True,
        "MissingOutcomes": [],
    }
    assert stats["summary"]["refusalRate"] == round(2 / 6, 6)
    assert stats["byCategory"]["NCII_RISK"] == {"attempts": 1, "refusals": 1, "refusalRate": 1}
    assert stats["completenessVerification"]["calculation"] == "6 == 1 + 2 + 1 + 1 + 0 + 1"
    assert stats["performance"]["p50DecisionTimeMs"] >= 0
    assert manifest["ConformanceLevel"] == "Silver"


def test_each_event_leads_to_the_stamped_root_of_the_log(pack, events):
    """Its entry's leaf, its path, the root in the checkpoint that the authority stamped."""
    from sealtrail.verify.merkle import check_inclusion

    files = cap_checker.files_of(pack.data)
    anchor = json.loads(files["anchors/anchor_001.json"])
    stamped = cap_checker.base64.b64decode(anchor["Sealtrail"]["Checkpoint"])
    root = cap_checker.base64.b64decode(stamped.split(b"\n")[2])
    paths = json.loads(files["merkle/proofs/ledger_proofs_001.json"])

    assert anchor["MerkleRoot"] == f"sha256:{root.hex()}"
    assert cap_checker.hashlib.sha256(stamped).digest() in cap_checker.base64.b64decode(
        anchor["AnchorProof"]
    )
    assert [one["EventID"] for one in paths] == [one["EventID"] for one in events]
    assert anchor["EventCount"] == len(events)
    for one in paths:
        check_inclusion(
            leaf=bytes.fromhex(one["Leaf"][7:]),
            index=one["Position"],
            size=one["Size"],
            path=[bytes.fromhex(node[7:]) for node in one["Path"]],
            root=root,
        )


def test_the_same_question_has_the_same_events(studio, events):
    """Chain id, hashes and signatures are of the record, not of the moment."""
    again = cap_checker.events_of(cap_checker.files_of(pack_of(studio).data))

    assert again == events


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
    found = cap_checker.completeness(cap_checker.events_of(cap_checker.files_of(pack.data)))
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
    (waiting,) = by_type(
        cap_checker.events_of(cap_checker.files_of(pack_of(quiet).data)), "GEN_ESCALATE"
    )
    quiet.post(decided, deny(stream))
    events = cap_checker.events_of(cap_checker.files_of(pack_of(quiet).data))

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
    started, done = cap_story.train(run)
    for event in (started, done):
        for name in ("base_model", "config", "context"):
            event["body"]["train"].pop(name)
    delivered = export("picture-1")
    quiet.post(ingest("asset_1"), started, done, one, gen(one["aggregate_id"], "picture-1"))
    quiet.post(delivered)

    pack = pack_of(quiet)

    events = cap_checker.events_of(cap_checker.files_of(pack.data))
    assert cap_checker.check(pack.data, key_of(quiet), cap_checker.Schemas(CAP / "schemas")) == []
    assumed = {one["EventType"]: one["Sealtrail"].get("Assumed") for one in events}
    assert assumed["GEN_ATTEMPT"] == ["PolicyID"]
    assert assumed["EXPORT"] == ["Destination"]
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
    (waiting,) = by_type(
        cap_checker.events_of(cap_checker.files_of(pack_of(quiet).data)), "GEN_QUARANTINE"
    )
    quiet.post(released)
    (freed,) = by_type(
        cap_checker.events_of(cap_checker.files_of(pack_of(quiet).data)), "GEN_QUARANTINE"
    )

    assert waiting["QuarantineReason"] == "r-1 r-2"
    assert waiting["QuarantineDetails"] == {
        "location": "vault 3",
        "accessLevel": "REVIEWER_ONLY",
        "autoDeleteOnExpiry": True,
    }
    assert waiting["ReviewStatus"] == {"status": "PENDING"}
    assert freed["ReviewStatus"]["status"] == "RELEASED"
    assert freed["ReviewStatus"]["finalDecision"] == "RELEASE"


def test_the_page_says_which_entry_becomes_which_event():
    """docs/cap.md, row by row, and every type that a pack can hold."""
    from evidence.cap_range import DIRECT
    from evidence.cap_statistics import ATTEMPT, OUTCOMES

    page = (Path(__file__).resolve().parents[2] / "docs" / "cap.md").read_text("utf-8")
    table = page.partition("| here | in CAP |")[2].partition("\n\n")[0]

    named = {line.split("|")[2].strip(" `") for line in table.splitlines()[2:]}

    assert named == {*DIRECT, ATTEMPT, *OUTCOMES}


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
        CapRequest(**{"first": today(), "last": today(), **changes}).check()


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

    events = cap_checker.events_of(cap_checker.files_of(pack_of(quiet).data))

    of = {one["EventID"]: one["Sealtrail"]["PromptHashOf"] for one in events}
    assert [of[one] for one in desk.ids] == ["prompt.user", "prompt.user", "_sd"]
    assert "ActorHash" not in next(one for one in events if one["EventID"] == desk.ids[2])
