# SPDX-License-Identifier: GPL-3.0-or-later
"""Two years of entries, month by month: hot, warm, cold, expired, and every proof still stands."""

import itertools
import time

import pytest
from house import attempt, export, gen, ingest
from retention_world import world_in

from anchoring.receipt import prove
from anchoring.thaw import Retrievals
from evidence.packet import PacketRequest, build_packet
from ledger import clock
from ledger.retention.tiers import BodyCold, BodyExpired
from sealtrail.verify.merkle import check_inclusion
from sealtrail.verify.note import Checkpoint, Note

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = [pytest.mark.once, pytest.mark.slow]

MONTHS = 26
EACH = 10  #: Stories of a month, of four entries each.


class Records:
    """What a client kept of each month: receipts' leaves, and which class it asked for."""

    def __init__(self):
        self.by_month = []

    def month(self, world, number):
        kept = []
        for at in range(EACH):
            claim = {"retention": {"class": "cap-silver"}} if at == 0 else {}
            start, taken = attempt(**claim), ingest(**claim)
            made = f"made-{number}-{at}"
            story = [
                start,
                gen(start["aggregate_id"], made, **claim),
                export(made, **claim),
                taken,
            ]
            kept += [(outcome.row, bool(claim)) for outcome in world.house.post(*story)]
        self.by_month.append(kept)

    def all(self):
        return [row for month in self.by_month for row, _ in month]


@pytest.fixture(scope="module")
def life(pattern, authority, tmp_path_factory):
    """Two years and two months later: the world, its records, and what each month looked like."""
    with world_in(pattern, tmp_path_factory.mktemp("years"), authority) as world:
        records, months, standing = Records(), [], []
        world.publish(disclosures=3)
        for number in range(MONTHS):
            records.month(world, number)
            world.anchor()
            done, look = world.done(), number % 3 == 0
            standing.append(stands(world, records, number) if look else None)
            months.append((done, world.fsck() if look else None, disk(world)))
            for _ in range(2):  # Announced, anchored, and a fortnight later gone.
                world.move(15)
                world.anchor()
                world.done()
        world.standing = [one for one in standing if one is not None]
        yield world, records, months


def stands(world, records, number):
    """One entry of each month so far is proved, and the newest packed: what a stranger finds."""
    for month in records.by_month:
        row = month[0][0]
        proof = prove(world.book, row.link.position, row.link.leaf)
        root = Checkpoint.parse(Note.parse(proof.checkpoint).text).root
        leaf, at = row.link.leaf, row.link.position
        check_inclusion(leaf=leaf, index=at, size=proof.size, path=proof.path, root=root)
    directory = world.house.directory / f"month-{number}"
    directory.mkdir()
    return packet(world, directory, records.by_month[-1][0][0].event_id).verdict


def disk(world):
    """Bytes that bodies take in the database, and objects in the archive."""
    with world.house.owner() as owner:
        ((database,),) = owner.execute(
            "SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = %s::regclass",
            (f"{world.house.schema}.entry_body",),
        ).fetchall()
    return int(database), len(list(world.archive.names()))


def test_fsck_holds_at_each_step(life):
    """Month by month it finds nothing, and counts what is cold and what is leaf only."""
    _, _, months = life

    reports = [report for _, report, _ in months if report is not None]
    cold = [report.absent.cold for report in reports]
    expired = [report.absent.expired for report in reports]

    assert [report.damage for report in reports] == [[]] * len(reports)
    assert (cold[0], expired[0]) == (0, 0)
    assert max(cold) > 100
    assert expired == sorted(expired)
    assert expired[-1] > 512


def test_proofs_and_packets_hold_at_each_step(life):
    """Every third month an entry of each month before is proved, and the newest is packed."""
    world, _, _ = life

    assert world.standing == ["verified"] * len(range(0, MONTHS, 3))


def test_in_the_end_every_cold_byte_is_read_and_fits(life):
    """`--cold` opens each bundle and hashes each body."""
    world, _, _ = life

    report = world.fsck(cold=world.cold, read_cold=True, full=True)

    assert (report.damage, report.not_checked) == ([], [])
    assert report.absent.cold > 0
    assert report.absent.unread == 0


def test_disk_falls_by_what_was_dropped(life):
    """Bodies of two years do not lie in the database: about four months of them do."""
    world, _, months = life

    database = [size for _, _, (size, _) in months]
    objects = [count for _, _, (_, count) in months]

    grown = [after - before for before, after in itertools.pairwise(database)]
    assert min(grown) < 0  # Some nights it is less than before, and more than half of it is gone.
    assert min(later / before for before, later in itertools.pairwise(database)) < 0.9
    assert any(later < before for before, later in itertools.pairwise(objects))
    assert len(world.bodies()) < world.book.reader.head().size / 2


def test_proofs_are_the_same_in_every_tier(life):
    """The leaf that the client got with its receipt is proved under the newest checkpoint."""
    world, records, _ = life
    tiers = set()

    for row in records.all():
        found = world.book.reader.locate(row.event_id)
        proof = prove(world.book, found.position, found.leaf)
        tiers.add(found.tier)
        assert (found.position, found.leaf) == (row.link.position, row.link.leaf)
        check_inclusion(
            leaf=row.link.leaf,
            index=found.position,
            size=proof.size,
            path=proof.path,
            root=Checkpoint.parse(Note.parse(proof.checkpoint).text).root,
        )

    assert tiers == {"database", "cold", "expired"}


def best_of(tries, work):
    """Seconds that some work takes when nothing else holds this machine up."""
    taken = []
    for _ in range(tries):
        began = time.monotonic()
        work()
        taken.append(time.monotonic() - began)
    return min(taken)


def test_a_hot_entry_is_read_within_two_seconds(life, record_property):
    """And a warm one, of two months ago, within thirty."""
    world, records, _ = life
    hot, warm = records.by_month[-1][0][0], records.by_month[-3][0][0]

    seconds = best_of(5, lambda: world.book.reader.find(hot.event_id))
    warm_seconds = best_of(5, lambda: world.book.reader.find(warm.event_id))

    record_property("hot_ms", round(seconds * 1000, 1))
    assert seconds < 2
    assert warm_seconds < 30


def test_a_cold_entry_comes_back_by_a_job_with_progress(life, tmp_path):
    """Until then it is refused by name; then it reads, verifies, and can be packed."""
    world, records, _ = life
    row = next(row for row, claimed in records.by_month[5] if claimed)
    with pytest.raises(BodyCold):
        world.book.reader.find(row.event_id)
    steps = []

    retrievals = Retrievals(world.book, world.archive)
    asked = retrievals.ask([row.link.position], until_ms=clock.now_ms() + clock.DAY_MS)
    done = retrievals.work(asked.id, lambda *step: steps.append(step))

    assert (asked.state, done.state, steps) == ("waiting", "done", [(1, 1)])
    assert world.book.reader.find(row.event_id).entry.data == row.entry.data
    assert packet(world, tmp_path, row.event_id).verdict == "verified"


def packet(world, directory, event_id):
    trust_file = directory / "trust.json"
    trust_file.write_bytes(world.house.trust(list(world.authority.roots)).print())
    return build_packet(
        world.book, PacketRequest(event_ids=(event_id,), disclosures={}), trust_file=trust_file
    )


def test_an_expired_entry_is_gone_and_says_by_which_announcement(life, tmp_path):
    """Its bytes are in no table, no bundle and no packet; a retrieval brings nothing back."""
    world, records, _ = life
    row = next(row for row, claimed in records.by_month[0] if not claimed)

    with pytest.raises(BodyExpired) as gone:
        world.book.reader.find(row.event_id)
    with pytest.raises(BodyExpired):
        packet(world, tmp_path, row.event_id)

    expiry = world.book.reader.find(gone.value.facts["expiry"])
    assert expiry.entry.value["type"] == "RETENTION_EXPIRED"
    retrievals = Retrievals(world.book, world.archive)
    asked = retrievals.ask([row.link.position], until_ms=clock.now_ms() + clock.DAY_MS)
    assert retrievals.work(asked.id).state == "done"
    with pytest.raises(BodyExpired):
        world.book.reader.find(row.event_id)


def test_who_asked_for_longer_was_kept_longer(life):
    """The class that an entry names itself counts, if it is the longer one: 24 months, not 6."""
    world, records, _ = life
    tiers = {
        claimed: {world.book.reader.locate(row.event_id).tier for row, of in month if of is claimed}
        for month in records.by_month[4:10]
        for claimed in (False, True)
    }

    assert tiers == {False: {"expired"}, True: {"cold"}}


def test_hot_entries_are_packed_as_ever(life, tmp_path):
    """The newest month: as if nothing had ever moved."""
    world, records, _ = life

    assert packet(world, tmp_path, records.by_month[-1][0][0].event_id).verdict == "verified"
