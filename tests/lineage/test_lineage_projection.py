# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables behind trees, lineages and costs: made again the same, and emptied by expiry."""

from house import attempt, error, event_id, export, gen, ingest

from ledger.lineage.projection import LineageProjection
from ledger.readmodel.follower import Follower, catch_up, rebuild
from ledger.readmodel.projection import Item

MINE = [LineageProjection()]


def rows(house):
    """All rows of all tables, as text."""
    with house.owner() as owner:
        return {
            table: sorted(
                str(row)
                for (row,) in owner.execute(f"SELECT t::text FROM {house.schema}.{table} t")
            )
            for table in LineageProjection.tables
        }


def told(house):
    """Record a story with a row of every kind."""
    source, made = event_id(), event_id()
    first = attempt(trace={"trace_id": "ab" * 16})
    (outcome,) = house.post(first)
    leaf = f"sha256:{outcome.row.link.leaf.hex()}"
    link = {"rel": "parent-call", "id": first["event_id"], "leaf": leaf}
    second = attempt(links=[link])
    done = gen(second["aggregate_id"], made)
    done["body"] |= {
        "usage": {"cost": "0.04", "currency": "EUR", "images": 1},
        "provider": {"model_returned": "painter-3-q", "system_fingerprint": "fp"},
    }
    failed = error(first["aggregate_id"])
    failed["body"]["error"]["provider_request_id"] = "req_9"
    derived = [{"rel": "derived-from", "id": first["event_id"], "leaf": leaf}]
    for one in (ingest(source, links=derived), second, done, failed, export(made)):
        house.post(one)
    catch_up(house.database, house.schema, ["lineage"])


def test_a_rebuild_ends_with_the_same_rows(house):
    """However the log was cut into stretches when it was read first."""
    told(house)
    whole = rows(house)

    rebuild(house.database, house.schema, MINE)
    again = rows(house)
    small = Follower(house.database, house.schema, MINE, batch=2)
    small.start_again()
    while small.step().behind:
        pass

    assert all(whole.values())
    assert again == whole
    assert rows(house) == whole


def test_what_is_announced_to_expire_is_forgotten(house):
    """Each table that knows single entries; the sums of who has answered stay."""
    told(house)
    size = house.book.reader.head().size
    body = {"what": "entry", "leaf_ranges": [[0, 3], [3, size]]}
    entry = {
        "type": "RETENTION_EXPIRED",
        "aggregate": {"type": "Log", "id": "log", "version": 1},
        "body": body,
    }
    item = Item(size, event_id(), "RETENTION_EXPIRED", 0, bytes(32), entry)

    with house.database.duty(house.schema, "append") as connection:
        values = {**entry, "body": {**body, "what": "disclosures"}}
        LineageProjection().write(connection, house.schema, [item._replace(entry=values)])
        kept = rows(house)
        LineageProjection().write(connection, house.schema, [item])

    assert all(kept.values())
    assert [table for table, left in rows(house).items() if left] == ["answered"]
