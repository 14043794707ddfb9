# SPDX-License-Identifier: GPL-3.0-or-later
"""Acceptance: what a person asked for is nowhere any more, and every proof still stands.

A whole `dev` ledger at its most talkative: prompts, identifiers and a picture of one person go in
over HTTP, are read, searched for, packed and backed up; two auditors have the person erased; then
every file of database, write-ahead log, archive, keystore, logs, backups and packets is searched.
"""

import base64
import gzip
import io
import json
import random
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from dev_ledger import Dev, eventually, running
from house import attempt, gen
from typer.testing import CliRunner

from ledger.keys import WrappedKeyDamaged
from ledger.keystore import FileKeystore, read_passphrase
from ledger.vault.construction import index_message, subject_aad
from ledger.vault.owners import person
from scripts import cli
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.tlog_proof import check_tlog_proof
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = [pytest.mark.once, pytest.mark.slow]

PERSON = "dorothea-1871-of-middlemarch"
PROMPT = "the ghost of a lighthouse keeper plays chess with a heron"
ACCOUNT = "account-of-dorothea-0042"
ADDRESS = "2001:db8:4711::dead:beef"
PICTURE = random.Random(7).randbytes(60_000)
PIN = "4821"
OTHER = "the prompt of somebody who stays"


@dataclass
class Erased:
    """The ledger after the erasure, and what was taken out of it before."""

    dev: Dev
    case: dict = field(default_factory=dict)
    receipts: list = field(default_factory=list)
    packet: bytes = b""
    verdict: str = ""
    hoard: dict = field(default_factory=dict)
    later_backup: object = None
    later_packet: bytes = b""

    @property
    def ids(self):
        return [receipt["event_id"] for receipt in self.receipts]

    @property
    def trust(self):
        return Trust.parse(self.dev.trust)

    def shell(self, *arguments):
        """Run a command in this process, without a second of start-up."""
        words = [*map(str, arguments), "--data", str(self.dev.data), "--json"]
        done = CliRunner().invoke(cli.app, words)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def build(self, **order):
        made = self.dev.ask("POST", "/v1/packets", token=self.dev.auditor, json=order)
        assert made.status_code == 201, made.text
        return self.dev.get(f"/v1/packets/{made.json()['id']}").content


@pytest.fixture(scope="module")
def erased(tmp_path_factory):
    directory = tmp_path_factory.mktemp("erased")
    with running(directory, SEALTRAIL_LOG_LEVEL="debug") as dev:
        world = Erased(dev)
        record(world)
        look_around(world)
        world.hoard = {
            table: rows(world, f"SELECT * FROM book_dev.{table}")
            for table in ("subject", "subject_index", "sealed", "blind")
        }
        backups = directory / "backups"
        world.shell("backup", "make", backups)
        erase(world, directory)
        world.later_backup = world.shell("backup", "make", backups)["backup"]
        world.later_packet = world.build(event_ids=world.ids)
        yield world


def record(world):
    """An attempt, its output with the picture itself, a PIN, and somebody else's attempt."""
    sealed = {"prompt.user": PROMPT, "actor.account_id": ACCOUNT, "net.ip": ADDRESS}
    first = attempt(on_behalf_of=PERSON, sealed=sealed)
    outcome = gen(first["aggregate_id"], on_behalf_of=PERSON)
    outcome["body"]["outputs"][0]["sha256"] = digest(PICTURE)
    pin = attempt(on_behalf_of=PERSON, sealed={"prompt.user": PIN})
    other = attempt(on_behalf_of="celia", sealed={"prompt.user": OTHER})
    world.receipts = [world.dev.post(one).json() for one in (first, outcome, pin, other)]
    announced = world.dev.post(
        {
            "event_id": outcome["event_id"],
            "name": "outputs[0].sha256",
            "size": len(PICTURE),
            "media_type": "image/png",
        },
        "/v1/artifacts",
    )
    assert announced.status_code == 201, announced.text
    headers = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
    url = announced.json()["upload"]["url"]
    assert world.dev.ask("PATCH", url, content=PICTURE, headers=headers).status_code == 204


def rows(world, query):
    with psycopg.connect(owner(world), autocommit=True) as connection:
        return connection.execute(query).fetchall()


def look_around(world):
    """Whatever is lawful before an erasure: reading, searching, a packet with disclosures."""
    first = world.receipts[0]
    shown = world.dev.get(f"/v1/events/{first['event_id']}?disclose=prompt.user,net.ip")
    assert first["disclosures"]["prompt.user"] in shown.text
    world.shell("redaction", "follow")
    eventually(lambda: redacted(world, "lighthouse keeper") == [PROMPT])
    world.packet = world.build(
        event_ids=world.ids, disclosures={first["event_id"]: first["disclosures"]}
    )
    world.verdict = report(world, world.packet).verdict


def redacted(world, query):
    """What an auditor finds in the redacted copies."""
    answer = world.dev.ask(
        "POST", "/v1/redacted:search", token=world.dev.auditor, json={"q": query}
    )
    assert answer.status_code == 200, answer.text
    return [one["redacted"] for one in answer.json()["found"]]


def erase(world, directory):
    """Two auditors decide, the night destroys."""
    second = directory / "second-token"
    token = ("token", "issue", "--tenant=dev", "--role=auditor", "--person", "--name=sam")
    second.write_text(world.shell(*token)["token"])
    order = {"person": PERSON, "basis": "gdpr-17-1-b"}
    dev = world.dev
    case = dev.ask("POST", "/v1/erasures", token=dev.auditor, json=order)
    assert case.status_code == 201, case.text
    path = f"/v1/erasures/{case.json()['erasure_id']}"
    approved = dev.ask("POST", f"{path}/approve", token=second.read_text(), json={"person": PERSON})
    assert approved.json()["state"] == "pending", approved.text
    world.shell("erase", "complete")
    world.case = dev.get(path).json()


def digest(content):
    return f"sha256:{sha256(content).hexdigest()}"


def report(world, packet):
    return check_packet(
        read_packet(packet), trust=world.trust, now=datetime.now(UTC), backend="auto"
    )


def spellings():
    """Every spelling in which what was erased may lie around; of the picture, pieces."""
    found = [PICTURE[at : at + 24] for at in range(0, len(PICTURE) - 24, 6_000)]
    for text in (PERSON, PROMPT, ACCOUNT, ADDRESS):
        data = text.encode()
        found += [data, base64.b64encode(data)[:-4], data.hex().encode(), text.encode("utf-16-le")]
        found += [base64.urlsafe_b64encode(b"xx"[:pad] + data)[4:-4] for pad in (0, 1, 2)]
    return found


def bytes_of(path):
    """A file of a server that runs: one that it removed since it was listed holds nothing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def searched(paths):
    """Search files, also inside of zip files; yields what was found where, and counts bytes."""
    wanted, found, read = spellings(), [], 0
    for path in paths:
        data = bytes_of(path)
        if path.suffix == ".gz":  # Of a backup.
            data += gzip.decompress(data)
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                data += b"".join(packed.read(name) for name in packed.namelist())
        read += len(data)
        found += [(path, secret[:16]) for secret in wanted if secret in data]
    return found, read


def test_the_erasure_is_complete_and_says_what_went(erased):
    """Three events, their identifiers, the picture; the keys are named that are gone."""
    assert erased.case["state"] == "complete"
    assert erased.case["erased"] == {"events": 3, "identifiers": 2, "artifacts": 1}


def test_no_file_of_the_ledger_holds_a_word_of_it(erased):
    """Database, write-ahead log, archive, keystore, packets, logs: no prompt, name or picture."""
    with psycopg.connect(owner(erased), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    files = [
        path
        for path in [*erased.dev.data.rglob("*"), erased.dev.said]
        if path.is_file() and not path.is_symlink() and path.name != "tokens.json"
    ]

    found, read = searched(files)

    assert found == []
    assert read > 30_000_000  # The cluster and its log are among it.
    entry = base64.b64decode(erased.receipts[0]["entry"])[:60]
    log = b"".join(bytes_of(path) for path in erased.dev.data.rglob("pg_wal/0*"))
    assert entry in log  # And this search finds what is there.


def test_no_later_backup_or_packet_holds_a_word_of_it(erased, tmp_path):
    """Backups and exports made afterwards."""
    packet = tmp_path / "packet.zip"
    packet.write_bytes(erased.later_packet)
    files = [path for path in Path(erased.later_backup).rglob("*") if path.is_file()]

    found, read = searched([*files, packet])

    assert found == []
    assert read > 10_000


def test_the_redacted_copies_went_with_it(erased):
    """Those of others are found as ever."""
    assert redacted(erased, "lighthouse keeper") == []
    assert redacted(erased, "somebody who stays") == [OTHER]


def test_whoever_kept_everything_opens_nothing_of_it(erased):
    """Old rows from pages, write-ahead log and backups, the keystore of today, and its passphrase.

    The wrapped key of the erased still lies in the write-ahead log; no key that exists unwraps it,
    and no index key that exists confirms a name, an account or a PIN. The others' are not touched.
    """
    data = erased.dev.data
    keys = FileKeystore(data / "keystore", read_passphrase(data / "passphrase"))
    wrapping = [name for name in keys.names() if keys.attest(name).kind == "wrap"]
    indexing = [name for name in keys.names() if keys.attest(name).kind == "hmac"]
    gone = UUID(erased.case["subject_ref"])
    (wrapped,) = [bytes(row[4]) for row in erased.hoard["subject"] if row[0] == gone]
    guesses = [person(PERSON).message, index_message("actor.account_id", ACCOUNT)]
    guesses += [index_message("prompt.user", f"{pin:04}") for pin in range(10_000)]
    known = {bytes(row[0]) for row in erased.hoard["subject_index"]}
    known |= {bytes(row[1]) for row in erased.hoard["blind"]}

    def opened(ref, wrapped_key):
        """Whether any key that exists opens this wrapped key of a subject."""
        for name in wrapping:
            with suppress(WrappedKeyDamaged):
                return bool(keys.unwrap(name, wrapped_key, subject_aad(ref.bytes)))
        return False

    present = rows(erased, "SELECT ref, wrapped_key FROM book_dev.subject WHERE state = 'live'")
    log = b"".join(bytes_of(path) for path in data.rglob("pg_wal/0*"))
    assert wrapped in log
    assert not opened(gone, wrapped)
    assert present
    assert all(opened(ref, bytes(key)) for ref, key in present)
    assert any(name.startswith("index/") for name in indexing)
    for name in indexing:
        assert known.isdisjoint(keys.mac(name, guess) for guess in guesses)


def test_the_search_would_have_found_it(erased, tmp_path):
    """The packet of before, which its owner keeps, does hold the prompt."""
    packet = tmp_path / "packet.zip"
    packet.write_bytes(erased.packet)

    found, _ = searched([packet])

    assert found


def test_whoever_reads_is_told_of_the_erasure(erased):
    """410 with its id; what lies in other persons' events is read as ever."""
    for receipt in erased.receipts[:3]:
        answer = erased.dev.get(f"/v1/events/{receipt['event_id']}?disclose=prompt.user")
        assert answer.status_code == 410, answer.text
        assert erased.case["erasure_id"] in answer.text
    kept = erased.dev.get(f"/v1/events/{erased.ids[3]}?disclose=prompt.user")
    assert erased.receipts[3]["disclosures"]["prompt.user"] in kept.text


def test_every_receipt_and_packet_of_before_still_verifies(erased):
    """Under the same trust, with the disclosures that were handed out then."""
    for receipt in erased.receipts:
        origin = receipt["origin"]
        leaf = bytes.fromhex(receipt["leaf"].removeprefix("sha256:"))
        keys = erased.trust.origins[origin]
        check_tlog_proof(receipt["proof"].encode(), leaf=leaf, origin=origin, keys=keys)
    assert report(erased, erased.packet).verdict == erased.verdict
    assert report(erased, erased.later_packet).verdict == erased.verdict


def test_fsck_has_nothing_to_say(erased):
    """Nothing that is hashed has changed."""
    books = erased.shell("fsck")["books"]

    assert [book["damage"] for book in books] == [[], []]


def owner(erased):
    environment = json.loads((erased.dev.data / "environment.json").read_text())
    return environment["SEALTRAIL_OWNER_DATABASE_URL"]
