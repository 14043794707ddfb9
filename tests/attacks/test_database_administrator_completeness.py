# SPDX-License-Identifier: GPL-3.0-or-later
"""The same administrator, who wants an attempt to have ended otherwise, or not to have ended."""

import pytest
from administrator import administrator
from house import Hand, attempt, deny, gen, house_in, ingest, noon_before

from anchoring.alerts import alerts
from anchoring.completeness import reports_of
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.overdue import Sweep
from anchoring.source_watch import SourceWatch
from evidence.completeness import Question, completeness
from ledger import clock
from ledger.errors import EntryDamaged, IntegrityViolation, LedgerError
from ledger.readmodel.follower import rebuild
from ledger.sources.listing import page
from ledger.sources.projection import SourcesProjection

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

OUTCOME = 3  #: Position of the refusal.


@pytest.fixture
def day(pattern, authority, tmp_path):
    """A day with an output and a refusal, before its night."""
    with house_in(pattern, tmp_path, now_ms=Hand(noon_before(2))) as house:
        starts = [attempt(), attempt()]
        house.ids = [one["aggregate_id"] for one in starts]
        house.post(*starts, gen(house.ids[0]), deny(house.ids[1]), ingest())
        house.day = clock.day_of(house.now_ms())
        house.now_ms.move(days=1)
        house.night = lambda: list(
            Night(house.book, [authority.authority()]).catch_up(house.now_ms())
        )
        yield house


def hide(house, position):
    with administrator(house) as admin:
        admin.do("DELETE FROM {b}.entry_body WHERE position = %s", position)
        admin.do("DELETE FROM {b}.entry WHERE position = %s", position)


def found(house):
    return {(one.position, one.what) for one in Fsck(house.book).run().damage}


def test_deletes_the_row_of_an_outcome_before_the_night(day):
    """Who: a database administrator who wants a refusal not to have been.
    Tries: to delete its row, so that the attempt is open, and the sweep ends it with a timeout.
    Caught by: the sweep, whose timeout is not recorded, for an entry of the stream is gone; the
    night, which hashes the day's bytes and anchors nothing; and fsck, by position.
    Not caught: the rows are gone; what they said has to come from receipts or a backup.
    """
    hide(day, OUTCOME)
    day.reopen()

    with pytest.raises(LedgerError):
        Sweep(day.book).run(day.now_ms() + clock.DAY_MS)
    with pytest.raises(LedgerError):
        day.night()

    assert day.book.reader.of_topic("ANCHOR/1") == []
    assert (OUTCOME, "entry") in found(day)


def test_deletes_the_row_of_an_outcome_after_the_final_report(day):
    """Who: the same administrator, a day later.
    Tries: the same with an outcome that a final report holds.
    Caught by: whoever asks for a statement about the day: the outcomes do not give the root any
    more, and none is made; and fsck, at the row and at the report.
    Not caught: a statement that was made before still verifies, and proves what is gone.
    """
    day.night()
    position = reports_of(day.book, day.day)["final"].position
    hide(day, OUTCOME)

    with pytest.raises(IntegrityViolation):
        completeness(day.book, Question(day=day.day, attempt_id=day.ids[1]))

    damage = found(day)
    assert (OUTCOME, "entry") in damage
    assert (position, "report") in damage


def test_has_the_index_say_another_outcome_before_the_night(day):
    """Who: a database administrator who changes no byte of any entry.
    Tries: to have the final report count a refusal as an output, by the column that tells types.
    Caught by: the night, which holds each column against the bytes before it makes a final report
    or anchors anything; and fsck, at the column and, once that is right again, at the first report.
    Not caught: the false first report is recorded by then, and stays as evidence of the attempt.
    """
    with administrator(day) as admin:
        admin.do("UPDATE {b}.entry SET topic = 'GEN/1' WHERE position = %s", OUTCOME)

    with pytest.raises(EntryDamaged):
        day.night()

    assert day.book.reader.of_topic("ANCHOR/1") == []
    assert (OUTCOME, "column") in found(day)
    with administrator(day) as admin:
        admin.do("UPDATE {b}.entry SET topic = 'GEN_DENY/1' WHERE position = %s", OUTCOME)
    (first,) = reports_of(day.book, day.day).values()
    assert found(day) == {(first.position, "report")}


def test_hides_a_gap_in_a_producers_numbers(house):
    """Who: a database administrator who has removed nothing, and wants nobody to ask.
    Tries: to empty the list of gaps in the table of sources.
    Caught by: reading it anew from the entries, which anybody who runs the ledger can do; the
    alert was an entry of the log before.
    Not caught: by whoever reads the list in between; it is an index, and no proof.
    """
    house.post(*[ingest(source={"id": "gateway:1", "n": n}) for n in (1, 3)])
    SourceWatch(house.book).run(clock.now_ms() + clock.DAY_MS)
    with administrator(house) as admin:
        admin.do("UPDATE {b}.source SET gaps = '[]'")
    assert page(house.database, house.schema) == []

    rebuild(house.database, house.schema, [SourcesProjection()])

    (source,) = page(house.database, house.schema)
    assert source.missing == 1
    assert [alert.code for alert in alerts(house.book)] == ["source-gap"]
