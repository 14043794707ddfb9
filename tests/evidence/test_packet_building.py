# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets built from a real log with real time stamps: what is in them, and who believes them."""

import dataclasses
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from custody_desk import Desk
from house import attempt, event_id, gen
from packet_world import files, size_of, verdict
from psycopg import sql

from anchoring.anchors import Anchors
from evidence.packet import ERASED, GROUND, MAX_ENTRIES, PacketRequest, TrustUnreadable
from ledger import clock
from ledger.errors import IntegrityViolation, MalformedEvent, NotFound
from sealtrail.verify import canonical
from sealtrail.verify.build import build_verifier
from sealtrail.verify.disclosure import digest, open_disclosure
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.note import VerifierKey
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def sent(world):
    """Three anchored entries."""
    return world.anchored()


@pytest.fixture(scope="module")
def packet(world, sent):
    """All three, and what the first one commits to."""
    return world.build(*sent, shown=sent[:1])


@pytest.fixture(scope="module")
def first(world, sent):
    """The position of the first of them; the others follow."""
    return world.position(sent[0])


def test_a_packet_is_verified_only_by_someone_who_brought_keys_and_roots(packet, world):
    """Verified with the published trust; with the packet's own keys it only agrees with itself."""
    keys_only = Trust(origins=world.trust.origins, tsa_roots=())

    assert packet.verdict == "verified"
    assert packet.records == 3
    assert re.fullmatch("[0-9a-f]{32}", packet.packet_id)
    assert verdict(packet.data, world.trust) == "verified"
    assert verdict(packet.data, None) == "incomplete"
    assert verdict(packet.data, keys_only) == "incomplete"


def test_a_packet_of_another_ledger_is_refuted(packet, world, fresh):
    """Neither another ledger's trust file believes it, nor another key under the same name."""
    (other,) = fresh.trust.origins[fresh.house.origin]
    renamed = VerifierKey.ed25519(world.house.origin, other.key)
    impostor = dataclasses.replace(world.trust, origins={world.house.origin: (renamed,)})

    assert verdict(packet.data, fresh.trust) == "refuted"
    assert verdict(packet.data, impostor) == "refuted"


def test_no_flipped_bit_goes_unnoticed(packet, world):
    """200 packets with one bit turned over anywhere: none of them is verified."""
    chance = random.Random(20260114)

    for _ in range(200):
        damaged = bytearray(packet.data)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            assert verdict(bytes(damaged), world.trust) != "verified"
        except VerifyError:
            continue


def test_the_verifier_as_one_file_agrees_without_any_package(packet, world, tmp_path):
    """Under `python -I -S` nothing is installed: 0 with the trust, 3 without it."""
    (tmp_path / "packet.zip").write_bytes(packet.data)
    (tmp_path / "verify.pyz").write_bytes(files(packet.data)["tools/verify.pyz"])

    def ends(*more):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "verify.pyz", "packet.zip", *more],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        return done.returncode

    assert files(packet.data)["tools/verify.pyz"] == build_verifier()
    assert ends("--trust", str(world.trust_file)) == 0
    assert ends() == 3


def test_every_command_of_the_read_me_does_what_it_says(packet, world, tmp_path, monkeypatch):
    """A reader who types what stands there gets three confirmations from three programs."""
    with zipfile.ZipFile(io.BytesIO(packet.data)) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "packet.zip").write_bytes(packet.data)
    (tmp_path / "verify.pyz").write_bytes(build_verifier())
    (tmp_path / "trust.json").write_bytes(world.trust_file.read_bytes())
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
    folder = tmp_path / f"packet-{packet.packet_id}"
    page = (folder / "00-READ-ME-FIRST.txt").read_text("ascii")
    commands = re.findall(r"^    \$ (.+)$", page, re.MULTILINE)

    said = ""
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, (command, done.stderr)

    assert len(commands) >= 9
    assert "\nVERIFIED\n" in said
    assert "Verification: OK" in said
    assert "Signature Verified Successfully" in said


def test_the_read_me_names_what_is_inside_and_nobody(packet, first):
    """Positions, types, times and counts; neither a value nor the name of a person."""
    page = files(packet.data)["00-READ-ME-FIRST.txt"].decode("ascii")

    rows = re.findall(
        r"^(\d+) +GEN_ATTEMPT +\S+T\S+Z +(\d) of 2 +data/anchors/\d+$", page, re.MULTILINE
    )
    assert rows == [(str(first), "2"), (str(first + 1), "0"), (str(first + 2), "0")]
    assert "NOT COMPLETE" not in page
    assert "employee-7" not in page
    assert "lighthouse" not in page
    prose = [line for line in page.splitlines() if not line.startswith("    $ ")]
    assert max(map(len, prose)) <= 100


def test_what_is_not_shown_is_counted(packet, first):
    """A shown field is a disclosure; for the others the packet says how many there are, and why."""
    inside = files(packet.data)
    shown, hidden = f"data/records/{first}", f"data/records/{first + 1}"

    listed = json.loads(inside[f"{shown}.disclosures.json"])
    withheld = canonical.decode(inside[f"{hidden}.withheld.json"])
    sd = json.loads(inside[f"{hidden}-GEN_ATTEMPT.entry.json"])["_sd"]

    assert [open_disclosure(one)[1:] for one in listed] == [
        ("actor.subject_id", "employee-7"),
        ("prompt.user", "a lighthouse at dusk"),
    ]
    assert f"{shown}.withheld.json" not in inside
    assert f"{hidden}.disclosures.json" not in inside
    assert withheld == [{"digest": one, "ground": GROUND} for one in sd]


def test_what_was_erased_is_said_to_be_with_the_erasures_id(fresh):
    """Each field has a ground of its own: what the depicted one had is gone, the rest not shown."""
    desk = Desk(fresh.house)
    case = desk.ask_and_approve("bob")
    id_ = desk.ids[1]

    packet = fresh.ask(PacketRequest(event_ids=tuple(desk.ids)))

    inside = files(packet.data)
    find = fresh.house.book.reader.find
    position = find(id_).position
    withheld = canonical.decode(inside[f"data/records/{position}.withheld.json"])
    grounds = [one["ground"] for one in withheld]
    kept = {digest(one) for one in desk.vault.open(id_).disclosures.values()}
    assert sorted(grounds) == [ERASED.format(case.erasure_id), GROUND, GROUND]
    assert {one["digest"] for one in withheld if one["ground"] == GROUND} == kept
    for other in (desk.ids[0], desk.ids[2]):
        told = inside[f"data/records/{find(other).position}.withheld.json"]
        assert case.erasure_id.encode() not in told


def test_a_vault_that_was_tampered_with_takes_no_proof_away(fresh):
    """An administrator marks values as erased: the packet is made, and does not repeat the lie."""
    (id_,) = fresh.anchored(1)
    with fresh.house.owner() as owner:
        owner.execute(
            f"UPDATE {fresh.house.schema}.subject SET state = 'erased', wrapped_key = NULL,"
            " identity = NULL, doomed = NULL, erasure_id = 'nobody' WHERE kind = 'person'"
        )

    packet = fresh.build(id_)

    told = files(packet.data)[f"data/records/{fresh.position(id_)}.withheld.json"]
    assert {one["ground"] for one in canonical.decode(told)} == {GROUND}


def test_an_entry_without_a_time_stamp_makes_the_packet_incomplete(world):
    """The log's promise alone is not evidence of time, and the first page says so."""
    stamped = world.anchored(2)
    waiting = world.post(1)

    mixed = world.build(*stamped, *waiting)
    alone = world.build(*waiting)

    page = files(mixed.data)["00-READ-ME-FIRST.txt"].decode()
    assert mixed.verdict == "incomplete"
    assert "NOT COMPLETE YET: 1 of 3 entries have no time stamp" in page
    assert alone.verdict == "incomplete"
    assert not any(name.startswith("data/anchors/") for name in files(alone.data))


def test_an_anchor_counts_only_when_the_log_has_entered_it(fresh):
    """A token that was kept while others were missing is not shown as an anchor yet."""
    sent = fresh.post()
    fresh.night(quorum=2).interim()

    waiting = fresh.build(*sent)
    list(fresh.night().catch_up(clock.now_ms()))
    done = fresh.build(*sent)

    assert waiting.verdict == "incomplete"
    assert done.verdict == "verified"


def test_each_entry_stands_under_the_first_anchor_over_it(fresh):
    """Two anchors, two stamps, and proofs that the log only grew between them and since."""
    early = fresh.anchored(2)
    late = fresh.anchored(3)
    fresh.post(1)

    built = fresh.build(late[0], early[1], early[0])

    inside = files(built.data)
    assert built.verdict == "verified"
    assert [size_of(inside[f"data/proofs/{n}.tlog-proof"]) for n in (0, 1, 3)] == [2, 2, 6]
    assert {n.split("/")[2] for n in inside if n.startswith("data/anchors/")} == {"2", "6"}
    assert [n for n in sorted(inside) if "consistency" in n] == [
        "data/proofs/consistency-2-8.txt",
        "data/proofs/consistency-6-8.txt",
    ]
    anchored = fresh.house.book.reader.at(2).entry
    assert inside["data/anchors/2/anchor.entry.json"] == anchored.data


def test_the_nights_anchor_goes_before_one_on_demand_over_the_same_checkpoint(fresh):
    """Both stamp the same bytes; the night's closed the day."""
    sent = fresh.anchored()
    anchors, night = Anchors(fresh.house.book), fresh.night()
    interim = anchors.get("interim/3")
    night._reports.provisional(interim.day, 0, 3)
    same = dataclasses.replace(interim, anchor_id=f"day/{interim.day}", kind="day")
    night._finish(anchors.choose(same))

    built = fresh.build(*sent)

    entry = json.loads(files(built.data)["data/anchors/3/anchor.entry.json"])
    assert built.verdict == "verified"
    assert entry["body"]["kind"] == "day"


def test_the_same_request_gives_the_same_files(world, sent):
    """But for the packet's id and date, whatever the order of the request."""
    one, other = (world.build(*order, shown=sent) for order in (sent, sent[::-1]))

    evidence = [
        {name: data for name, data in files(packet.data).items() if name.startswith("data/")}
        for packet in (one, other)
    ]
    assert evidence[0] == evidence[1]
    assert one.packet_id != other.packet_id


def test_a_disclosure_that_the_entry_does_not_commit_to_is_refused(world, sent):
    """Another entry's, another field's, and what is none: each is refused by pointer and rule."""
    mine, other, _ = sent
    name = "prompt.user"

    def complaint(shown):
        request = PacketRequest(event_ids=(mine.event_id,), disclosures={mine.event_id: shown})
        with pytest.raises(MalformedEvent) as refused:
            world.ask(request)
        (error,) = refused.value.errors
        return error.pointer.removeprefix(f"/disclosures/{mine.event_id}"), error.rule

    assert complaint({name: other.disclosures[name]}) == (f"/{name}", "not-committed")
    assert complaint({name: mine.disclosures["actor.subject_id"]}) == (f"/{name}", "name")
    assert complaint({name: "no disclosure"}) == (f"/{name}", "disclosure")
    assert complaint({"A. Person": mine.disclosures[name]}) == ("", "name")


def test_a_request_that_makes_no_sense_is_refused_before_anything_is_read(world):
    """None, too many, twice the same, not an id, and a disclosure of an entry not asked for."""
    one = event_id()

    def rule(*ids, **more):
        with pytest.raises(MalformedEvent) as refused:
            world.ask(PacketRequest(event_ids=ids, **more))
        return refused.value.errors[0].rule

    assert rule() == "count"
    assert rule(*(event_id() for _ in range(MAX_ENTRIES + 1))) == "count"
    assert rule(one, one) == "duplicate"
    assert rule("A. Person") == "uuid7"
    assert rule(one, disclosures={event_id(): {}}) == "unknown-event"
    with pytest.raises(NotFound):
        world.ask(PacketRequest(event_ids=(one,)))


def test_a_packet_that_is_refuted_is_never_handed_out(world, sent, tmp_path):
    """A trust file without this log's key refutes it; without any trust file nothing is checked."""
    stranger = tmp_path / "stranger.json"
    keys = world.trust.origins[world.house.origin]
    stranger.write_bytes(
        dataclasses.replace(world.trust, origins={"ledger.test/else": keys}).print()
    )

    with pytest.raises(IntegrityViolation, match="none for this log"):
        world.build(*sent, trust_file=stranger)
    with pytest.raises(TrustUnreadable):
        world.build(*sent, trust_file=tmp_path / "none.json")


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE {book}.anchor SET stamped = stamped || '\\x20'",
        "UPDATE {book}.token SET reply = set_byte(reply, length(reply) - 1, 0)",
        "UPDATE {book}.entry_body SET bytes = bytes || '\\x20' WHERE position = 1",
    ],
    ids=["stamped bytes", "token", "entry"],
)
def test_what_an_administrator_changed_is_not_delivered(fresh, forgery):
    """Whoever owns the database can change a row; the packet that would show it is refused."""
    sent = fresh.anchored()
    with fresh.house.owner() as owner:
        owner.execute("SET session_replication_role = replica")  # Triggers do not stop them.
        owner.execute(sql.SQL(forgery).format(book=sql.Identifier(fresh.house.schema)))

    with pytest.raises(IntegrityViolation):
        fresh.build(*sent)


def test_progress_is_told_to_the_end(world, sent):
    """A packet of many entries takes seconds: whoever waits sees how far it is."""
    told = []

    world.build(*sent, progress=lambda done, whole: told.append((done, whole)))

    assert told == [(done, 7) for done in range(1, 8)]


def test_a_whole_life_goes_into_one_packet(world):
    """Attempt and outcome of one generation, none of their persons shown."""
    begun = attempt()
    ended = gen(begun["aggregate_id"])
    world.house.post(begun)
    world.house.post(ended)
    world.night().interim()

    built = world.ask(PacketRequest(event_ids=(begun["event_id"], ended["event_id"])))

    names = [name for name in files(built.data) if name.endswith("entry.json")]
    assert built.verdict == "verified"
    assert [re.sub(r"\d+", "n", name) for name in names] == [
        "data/anchors/n/anchor.entry.json",
        "data/records/n-GEN_ATTEMPT.entry.json",
        "data/records/n-GEN.entry.json",
    ]
