# SPDX-License-Identifier: GPL-3.0-or-later
"""Statements about what is not in a set and was not put out, as a stranger checks them."""

import json
import subprocess
import sys
from hashlib import sha256

import pytest
from house import Hand, attempt, gen, house_in, ingest

from anchoring.dataset import By, Datasets
from anchoring.dataset_build import Order
from anchoring.dataset_members import read_members
from anchoring.night import Night
from evidence import absence
from evidence.absence import DatasetUnknown, OutputsOpen, about_dataset, about_outputs
from ledger import clock
from ledger.retention.tiers import BodyCold
from sealtrail.verify.build import build_verifier
from sealtrail.verify.sparse import BYTES, PIXELS
from sealtrail.verify.statement import check_statement, read_statement
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

BY = By(actor={"kind": "service", "credential": "cred_test"})


def digests(name):
    """Of a file whose bytes are its name, and whose pixels are its name reversed."""
    return {
        BYTES: sha256(name.encode()).digest(),
        PIXELS: sha256(name[::-1].encode()).digest(),
    }


def text(digest):
    return f"sha256:{digest.hex()}"


class Sealing:
    """A ledger with a sealed set, put out pictures, and nights over both."""

    def __init__(self, house, authority):
        self.house, self.authority = house, authority
        self.trust_file = house.directory / "trust.json"
        self.trust_file.write_bytes(house.trust(list(authority.authority().roots)).print())

    def ingest(self, *names):
        for name in names:
            found = digests(name)
            clear = {"type": "image", "sha256": text(found[BYTES])}
            clear["pixel_sha256"] = text(found[PIXELS])
            body = {"asset": clear, "rights": {"basis": "OWNED"}}
            self.house.post(ingest(name, body=body))

    def seal(self, *names, version="1"):
        lines = "".join(json.dumps({"asset_id": name}) + "\n" for name in names)
        order = Order(id="acme/faces", version=version)
        return Datasets(self.house.book).seal(order, read_members([lines.encode()]), BY)

    def put_out(self, name):
        start = attempt()
        found = digests(name)
        output = {"asset_id": name, "mime": "image/png", "sha256": text(found[BYTES])}
        output["pixel_sha256"] = text(found[PIXELS])
        self.house.post(start, gen(start["aggregate_id"], body={"outputs": [output]}))

    def nights(self, days=1):
        for _ in range(days):
            self.house.now_ms.move(days=1)
            night = Night(self.house.book, [self.authority.authority()])
            list(night.catch_up(self.house.now_ms()))

    def interim(self):
        Night(self.house.book, [self.authority.authority()]).interim()

    def day(self, ago=0):
        return clock.day_of(self.house.now_ms() - ago * clock.DAY_MS)

    def in_set(self, name, version=None):
        found = digests(name)
        return about_dataset(
            self.house.book, found, "acme/faces", version, trust_file=self.trust_file
        )

    def put_out_until(self, name, day):
        return about_outputs(self.house.book, digests(name), day, trust_file=self.trust_file)

    def check(self, document, file=None, trust=True):
        return check_statement(
            read_statement(json.dumps(document).encode()),
            trust=Trust.parse(self.trust_file.read_bytes()) if trust else None,
            now=clock.now(),
            file=file,
        )


@pytest.fixture
def sealing(noon, authority):
    return Sealing(noon, authority)


def test_a_file_that_is_not_in_the_set_is_shown_not_to_be(sealing):
    """Bytes and pixels, under the root that the anchored DATASET_SEALED names: verified."""
    sealing.ingest("one", "two", "three")
    sealing.seal("one", "two")
    sealing.interim()

    answer = sealing.in_set("three")

    report = sealing.check(answer.document, file=b"three")
    assert (answer.present, answer.verdict, report.verdict) == (False, "verified", "verified")
    checks = [one.check for one in report.findings]
    assert checks[:3] == ["bytes", "no bytes", "no pixels"]
    assert any("exact bytes and pixels" in point for point in report.not_checked)
    assert any("taken as given" in point for point in report.not_checked)


def test_a_member_is_shown_with_the_entry_that_brought_it(sealing):
    """The same question, the other answer: the INGEST itself, anchored."""
    sealing.ingest("one", "two")
    sealing.seal("one", "two")
    sealing.interim()

    answer = sealing.in_set("two")

    report = sealing.check(answer.document, file=b"two")
    assert (answer.present, report.verdict) == (True, "verified")
    assert answer.document["found"] == {"tag": BYTES, "position": 1}
    assert any("INGEST" in one.sentence for one in report.findings)


def test_before_the_night_the_statement_is_a_promise(sealing):
    """No stamp covers the entry that names the root yet: incomplete, and it says why."""
    sealing.ingest("one", "two")
    sealing.seal("one")

    answer = sealing.in_set("two")

    assert answer.verdict == "incomplete"


def test_without_trust_from_outside_nothing_is_verified(sealing):
    """Keys and roots do not come along with the statement."""
    sealing.ingest("one", "two")
    sealing.seal("one")
    sealing.interim()

    assert sealing.check(sealing.in_set("two").document, trust=False).verdict == "incomplete"


def test_another_file_than_the_statements_is_refuted(sealing):
    """The digest of the file is computed from the file itself."""
    sealing.ingest("one", "two")
    sealing.seal("one")
    sealing.interim()

    document = sealing.in_set("two").document

    assert sealing.check(document, file=b"two").verdict == "verified"
    assert sealing.check(document, file=b"one").verdict == "refuted"


def test_the_single_file_verifier_says_the_same_with_the_standard_library_alone(sealing, tmp_path):
    """verify.pyz picks a statement out by its content, and wants --file with nothing else."""
    sealing.ingest("one", "two")
    sealing.seal("one")
    sealing.interim()
    pyz, statement = tmp_path / "verify.pyz", tmp_path / "absence.json"
    pyz.write_bytes(build_verifier())
    statement.write_text(json.dumps(sealing.in_set("two").document))
    files = {name: tmp_path / name for name in ("one", "two")}
    for name, file in files.items():
        file.write_text(name)

    def run(*arguments):
        command = [sys.executable, "-I", "-S", pyz, *arguments, "--trust", sealing.trust_file]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout.strip().rpartition("\n")[2]

    assert run(statement, "--file", files["two"]) == (0, "VERIFIED")
    assert run(statement, "--file", files["one"]) == (1, "REFUTED")
    assert run(statement, "--entry", files["one"])[0] == 2
    assert run(files["one"], "--file", files["one"])[0] == 2


def test_each_version_answers_for_itself(sealing):
    """What the newer version lacks may have been in the older one."""
    sealing.ingest("one", "two")
    sealing.seal("one", "two")
    sealing.seal("one", version="2")
    sealing.interim()

    assert not sealing.in_set("two").present
    assert sealing.in_set("two", "1").present
    with pytest.raises(DatasetUnknown):
        sealing.in_set("two", "3")


def test_nothing_with_these_bytes_was_put_out_up_to_a_day(sealing):
    """A map for each day, without a gap from the first entry: verified."""
    sealing.put_out("one")
    sealing.nights()
    sealing.put_out("two")
    sealing.nights(2)

    absent = sealing.put_out_until("three", sealing.day(1))
    report = sealing.check(absent.document, file=b"three")

    assert (absent.present, report.verdict) == (False, "verified")
    assert len(absent.document["proofs"]) <= 3
    (ranges,) = [one for one in report.findings if one.check == "ranges"]
    assert ranges.verdict == "verified"


def test_what_was_put_out_is_shown_with_its_entry_and_only_from_that_day_on(sealing):
    """Up to the day before nothing was; that day's map leads to the GEN."""
    sealing.put_out("one")
    sealing.nights()
    sealing.put_out("two")
    sealing.nights(2)

    present = sealing.put_out_until("two", sealing.day(2))

    assert present.present
    assert sealing.check(present.document).verdict == "verified"
    assert any("GEN" in one.sentence for one in sealing.check(present.document).findings)
    assert not sealing.put_out_until("two", sealing.day(3)).present


def test_a_day_without_its_final_report_has_no_answer(sealing):
    """Today is not over; nobody can say what it will put out."""
    sealing.put_out("one")
    sealing.nights()

    with pytest.raises(OutputsOpen):
        sealing.put_out_until("two", sealing.day())


def names_in(report):
    """The streams of the entries in a report, in its order."""
    told = [one.sentence for one in report.findings if one.check == "entry"]
    return [one.split(" of ")[1].split(",")[0] for one in told]


def test_months_and_years_are_rolled_so_that_a_long_answer_stays_short(
    pattern, authority, tmp_path, monkeypatch
):
    """Some days over a new year: a year, a month and days instead of thirty-six maps."""
    start = clock.day_start("2025-12-30") + 43_200_000
    with house_in(pattern, tmp_path, now_ms=Hand(start)) as house:
        sealing = Sealing(house, authority)
        sealing.put_out("one")
        sealing.nights(4)
        sealing.put_out("two")
        sealing.nights(32)

        absent = sealing.put_out_until("three", "2026-02-02")
        report = sealing.check(absent.document)

        assert names_in(report) == [
            "OutputPeriod 2025",
            "OutputPeriod 2026-01",
            "AnchorDay 2026-02-01",
            "AnchorDay 2026-02-02",
        ]
        assert sealing.put_out_until("two", "2026-02-02").present
        assert sealing.put_out_until("one", "2026-02-02").present
        assert not sealing.put_out_until("two", "2026-01-01").present

        def cold(*_):
            raise BodyCold

        monkeypatch.setattr(absence, "rolled", cold)
        longer = sealing.put_out_until("three", "2026-02-02")
        assert len(longer.document["proofs"]) == 35
        assert sealing.check(longer.document).verdict == sealing.check(absent.document).verdict
