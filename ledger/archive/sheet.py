# SPDX-License-Identifier: GPL-3.0-or-later
"""What a key sheet says of the tenant's own content, and how restored artifacts catch up with it.

A backup holds the keys of the tenant's content as they were wrapped then; `keys rotate wrapping`
has destroyed what wrapped them since. A person's content lies under the person's own key, of which
the vault's sheet tells (ledger.vault.sheet): here it only has to go when that has gone.

    sheet    first line    {"generation", "behind"}       behind: not all is wrapped anew yet
             each other    {"artifact", "generation", "wrapped_key"}
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

from psycopg import sql

from ledger.archive.custody import tenant_key
from ledger.database import Connection
from ledger.keys import KeyMissing, Keys, is_destroyed, was_made
from ledger.vault.sheet import SheetMissing, SheetRefused

_STATE: Final = """
SELECT s.generation, s.generation > 1 AND EXISTS (
       SELECT 1 FROM {book}.artifact a
        WHERE a.subject_ref IS NULL AND a.wrapped_key IS NOT NULL AND a.generation < s.generation)
  FROM {book}.artifact_state s WHERE s.id = 1
"""
_ROWS: Final = """
SELECT artifact_id, generation, wrapped_key FROM {book}.artifact
 WHERE subject_ref IS NULL AND wrapped_key IS NOT NULL ORDER BY artifact_id
"""
_TAKE: Final = """
UPDATE {book}.artifact a SET generation = t.generation, wrapped_key = t.wrapped_key
  FROM sheet_artifact t
 WHERE a.artifact_id = t.artifact_id AND a.subject_ref IS NULL AND a.wrapped_key IS NOT NULL
   AND a.generation < t.generation;
DROP TABLE sheet_artifact
"""
#: As an erasure leaves content (ledger.erasure.erasures), with all that shows what it looked like.
_GONE: Final = """
WITH gone AS (
    UPDATE {book}.artifact a
       SET state = 'erased', wrapped_key = NULL, facts = NULL, preview = NULL, fingerprint = NULL,
           image_code = NULL
     WHERE a.state NOT IN ('erased', 'expired') AND {which} RETURNING a.event_id, a.name),
hashes AS (
    DELETE FROM {book}.similar s USING gone g WHERE s.event_id = g.event_id AND s.name = g.name)
SELECT count(*) FROM gone
"""
_ERASED: Final = (
    "EXISTS (SELECT 1 FROM {book}.subject s WHERE s.ref = a.subject_ref AND s.state = 'erased')"
)
_LOST: Final = "a.subject_ref IS NULL AND NOT a.generation = ANY({usable}::bigint[])"
_TRIGGERS: Final = "ALTER TABLE {{book}}.artifact {} TRIGGER USER"


def lines_of(connection: Connection, schema: str) -> Iterator[bytes]:
    """Yield the lines of a sheet; the connection is in one snapshot, with the read role."""
    book = sql.Identifier(schema)
    state = connection.execute(sql.SQL(_STATE).format(book=book)).fetchone()
    if state is not None:
        yield _line({"generation": state[0], "behind": state[1]})
    with connection.cursor("content") as rows:  # On the server's side: there may be millions.
        rows.execute(sql.SQL(_ROWS).format(book=book))
        for artifact_id, generation, key in rows:
            said = {"generation": generation, "wrapped_key": bytes(key).hex()}
            yield _line({"artifact": artifact_id.hex, **said})


def catch_up(
    owner: Connection,
    *,
    schema: str,
    origin: str,
    keys: Keys,
    sheet: Path | None,
    give_up: bool = False,
) -> int:
    """Bring artifacts that went back in time to what is known now, once their vault has caught up.

    As `ledger.vault.sheet.catch_up`, of which it takes all arguments. Returns how much of the
    tenant's content is lost for want of a newer sheet. Raises SheetMissing, KeyMissing.
    """
    book = sql.Identifier(schema)
    run = owner.execute
    # A hold that was released since may be there again. What it kept is gone: no key opens it.
    run(sql.SQL(_TRIGGERS.format("DISABLE")).format(book=book))
    if sheet is not None:
        _load(owner, sheet)
        run(sql.SQL(_TAKE).format(book=book))
    usable = _usable(owner, book, keys, origin)
    which = sql.SQL(_ERASED).format(book=book)
    run(sql.SQL(_GONE).format(book=book, which=which))
    which = sql.SQL(_LOST).format(usable=sql.Literal(usable))
    row = run(sql.SQL(_GONE).format(book=book, which=which)).fetchone()
    lost = int(row[0]) if row is not None else 0
    if lost and not give_up:
        raise SheetMissing(f"{SheetMissing.__doc__} It concerns {lost} artifacts in {schema}.")
    if usable:
        query = "UPDATE {book}.artifact_state SET generation = %s WHERE id = 1 AND generation < %s"
        run(sql.SQL(query).format(book=book), (usable[-1], usable[-1]))
    run(sql.SQL(_TRIGGERS.format("ENABLE")).format(book=book))
    return lost


def _usable(owner: Connection, book: sql.Identifier, keys: Keys, origin: str) -> list[int]:
    """Return the generations that can still unwrap, oldest first.

    Raises KeyMissing for one in use that this keystore never had: nothing is given up on its word.
    """
    made, found = 1, []
    while was_made(keys, tenant_key(origin, made)):
        if keys.has(tenant_key(origin, made)):
            found.append(made)
        made += 1
    query = (
        "SELECT DISTINCT generation FROM {}.artifact WHERE subject_ref IS NULL"
        " AND wrapped_key IS NOT NULL"
    )
    for (generation,) in owner.execute(sql.SQL(query).format(book)).fetchall():
        name = tenant_key(origin, generation)
        if generation not in found and not is_destroyed(keys, name):
            raise KeyMissing("the keystore lacks the archive's keys: another keystore?", key=name)
    return found


def _load(owner: Connection, sheet: Path) -> None:
    """Read a sheet into a table that ends with the transaction."""
    owner.execute(
        "CREATE TEMPORARY TABLE sheet_artifact (artifact_id uuid PRIMARY KEY, generation bigint,"
        " wrapped_key bytea) ON COMMIT DROP"
    )
    with (
        sheet.open("rb") as file,
        owner.cursor() as cursor,
        cursor.copy("COPY sheet_artifact FROM STDIN") as rows,
    ):
        if not file.readline().startswith(b'{"generation":'):
            raise SheetRefused
        for line in file:
            said = json.loads(line)
            key = bytes.fromhex(said["wrapped_key"])
            rows.write_row((UUID(hex=said["artifact"]), said["generation"], key))


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
