# SPDX-License-Identifier: GPL-3.0-or-later
"""The database's administrator does not want an alarm to be seen."""

import pytest
from house import house_in

from anchoring.alerts import acknowledge, alerts, raise_alert, rebuild
from ledger.errors import EntryDamaged

#: What is tried here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


@pytest.fixture
def house(pattern, tmp_path):
    with house_in(pattern, tmp_path) as made:
        yield made


def rows(house, statement, *values):
    with house.owner() as owner:
        owner.execute(statement.format(book=house.schema), values)


def test_an_alarm_that_was_there_already(house):
    """Who: an administrator who puts the row of an alert into the table before it is raised.
    Tries: that the ledger takes it for told, under any position, the next one included.
    Caught by: a row counts only with its entry; the entry takes its own place.
    Not caught: rows without an entry are listed until somebody rebuilds the table.
    """
    size = house.book.reader.head().size
    for position in range(size + 3):
        rows(
            house,
            "INSERT INTO {book}.alert (position, event_id, code, about, facts, raised_at)"
            " VALUES (%s, gen_random_uuid(), 'silent-upgrade', 'model/7', '{{}}', 0)",
            position,
        )

    raised = raise_alert(house.book, "silent-upgrade", "model/7", {})
    rebuild(house.book)

    assert raised
    assert [one.position for one in alerts(house.book)] == [size]


def test_an_alarm_whose_row_is_gone(house):
    """Who: an administrator who deletes the row of an alert, or says that it was acknowledged.
    Tries: an empty list of open alerts.
    Caught by: the next look makes the missing row from its entry; a rebuild forgets an
    acknowledgement that no entry tells of.
    Not caught: a false acknowledgement until the table is rebuilt. Compare the list with the log.
    """
    raise_alert(house.book, "a", "x", {})
    raise_alert(house.book, "b", "x", {})
    rows(house, "DELETE FROM {book}.alert WHERE code = 'a'")
    rows(house, "UPDATE {book}.alert SET acknowledged = 0, acknowledged_at = 0 WHERE code = 'b'")

    looked = [one.code for one in alerts(house.book, open_only=True)]
    rebuild(house.book)

    assert looked == ["a"]
    assert {one.code for one in alerts(house.book, open_only=True)} == {"a", "b"}


def test_an_alarm_whose_entry_is_altered(house):
    """Who: an administrator who rewrites the entry behind an alert.
    Tries: another thing in the bytes, so that the alert seems to be about something else.
    Caught by: the bytes do not hash to the leaf; whoever looks next is told, and so is fsck.
    Not caught: nothing of this.
    """
    raise_alert(house.book, "a", "x", {})
    rows(house, "DELETE FROM {book}.alert")
    rows(house, "ALTER TABLE {book}.entry_body_rest DISABLE TRIGGER append_only")
    rows(
        house,
        "UPDATE {book}.entry_body_rest SET bytes = replace(encode(bytes, 'escape'), '\"x\"',"
        " '\"y\"')::bytea WHERE position = (SELECT max(position) FROM {book}.entry)",
    )

    with pytest.raises(EntryDamaged):
        alerts(house.book)


def test_an_acknowledgement_in_another_name(house):
    """Who: an administrator who wants an alert to have been seen by somebody else.
    Tries: to answer it through the ledger without a person's token.
    Caught by: the entry names the credential that answered; a program's token is refused.
    Not caught: whoever holds a person's token is that person to us.
    """
    raise_alert(house.book, "a", "x", {})
    (one,) = alerts(house.book)

    acknowledge(house.book, one.event_id, actor={"kind": "human", "credential": "cred_erin"})

    head = house.book.reader.head().size
    assert house.book.reader.at(head - 1).entry.value["actor"]["credential"] == "cred_erin"
