# SPDX-License-Identifier: GPL-3.0-or-later
"""A sheet of a vault's wrapped keys, and how a vault that went back in time catches up with it.

A backup holds the subject keys as they were wrapped then. The generation that wrapped them may have
been destroyed since, because somebody was erased: then the backup alone opens nothing any more. The
sheet, a few hundred bytes a data subject, is written each time a new generation has wrapped every
living key, and says of each data subject that it was erased, by which ERASURE, or how its key is
wrapped now.

    sheet    first line    {"generation", "oldest"}
             each other    {"ref", "kind", "state", "generation", "wrapped_key", "identity",
                            "erasure_id", "doomed", "index": [[index, generation], …]}

    rewound vault ──┬── in the sheet, erased        erased here, too: key, blobs and indexes go
                    ├── in the sheet, alive         its key as wrapped now
                    └── key of a destroyed          erased, by nobody: what no key opens must not
                        generation in both          look as if one could

One who was erased never comes back: neither by a backup nor by a sheet. Whether somebody's erasure
is only asked for, the log says, as it was restored: what was asked for since has to be asked again.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import sql

from ledger.database import Connection
from ledger.errors import Refused
from ledger.keys import KeyMissing, Keys, is_destroyed, was_made
from ledger.vault.construction import index_key, wrapping_key

#: Stands for the ERASURE of one whose key was lost, and not destroyed for a reason.
UNRECOVERABLE: Final = "unrecoverable"

#: Before the ERASURE's id, of one who was erased after the backup: that entry may be lost.
RESTORED: Final = "restored:"

_ROWS: Final = """
SELECT s.ref, s.kind, s.state, s.generation, s.wrapped_key, s.identity, s.erasure_id, s.doomed,
       array_agg(i."index" ORDER BY i."index") FILTER (WHERE i.ref IS NOT NULL),
       array_agg(i.generation ORDER BY i."index") FILTER (WHERE i.ref IS NOT NULL)
  FROM {book}.subject s LEFT JOIN {book}.subject_index i ON i.ref = s.ref
 GROUP BY s.ref ORDER BY s.ref
"""
_TAKE: Final = """
UPDATE {book}.subject s
   SET generation = t.generation, wrapped_key = t.wrapped_key, identity = t.identity,
       state = CASE WHEN t.state = 'erased' THEN t.state ELSE s.state END,
       doomed = CASE WHEN t.state = 'erased' THEN NULL ELSE s.doomed END,
       erasure_id = CASE WHEN t.state <> 'erased' THEN s.erasure_id
                         WHEN t.erasure_id = %(unrecoverable)s OR s.erasure_id = t.erasure_id
                              OR starts_with(t.erasure_id, %(restored)s) THEN t.erasure_id
                         ELSE %(restored)s || t.erasure_id END
  FROM sheet_subject t
 WHERE s.ref = t.ref AND s.state <> 'erased'
"""
_LOSE: Final = """
UPDATE {book}.subject
   SET state = 'erased', wrapped_key = NULL, identity = NULL, doomed = NULL,
       erasure_id = coalesce(erasure_id, %s)
 WHERE state <> 'erased' AND NOT generation = ANY(%s::bigint[])
RETURNING erasure_id = %s
"""
_TRIGGERS: Final = (
    "ALTER TABLE {{book}}.subject {} TRIGGER USER; ALTER TABLE {{book}}.sealed {} TRIGGER USER"
)
_FOLLOW: Final = """
DELETE FROM {book}.subject_index i USING sheet_index x WHERE i.ref = x.ref;
INSERT INTO {book}.subject_index ("index", generation, ref)
SELECT x."index", x.generation, x.ref FROM sheet_index x
  JOIN {book}.subject s ON s.ref = x.ref AND s.state = 'live' ON CONFLICT DO NOTHING;
DROP TABLE sheet_subject, sheet_index
"""
_SHRED: Final = """
DELETE FROM {book}.redacted r USING {book}.subject s
 WHERE r.subject_ref = s.ref AND s.state = 'erased';
DELETE FROM {book}.subject_index i USING {book}.subject s
 WHERE i.ref = s.ref AND s.state = 'erased';
DELETE FROM {book}.blind b USING {book}.subject s
 WHERE b.subject_ref = s.ref AND s.state = 'erased';
UPDATE {book}.sealed x SET wrapped_key = NULL, blob = NULL FROM {book}.subject s
 WHERE x.subject_ref = s.ref AND s.state = 'erased' AND x.blob IS NOT NULL
"""


class SheetRefused(Refused):
    """This sheet of keys is older than the vault that it is brought to, or no sheet."""

    problem = "sheet-refused"


class SheetMissing(Refused):
    """What wraps these persons' keys was destroyed since: without a newer sheet all is lost."""

    status = 409
    problem = "sheet-missing"


class CaughtUp(NamedTuple):
    """What a vault knows after it caught up."""

    erased: int  #: Data subjects whose erasure it had not known.
    lost: int  #: … whose key nobody has any more, though nobody erased them.
    generation: int


def lines_of(connection: Connection, schema: str) -> Iterator[bytes]:
    """Yield the lines of a sheet; the connection is in one snapshot, with the read role."""
    book = sql.Identifier(schema)
    state = connection.execute(
        sql.SQL("SELECT generation, oldest FROM {book}.vault_state WHERE id = 1").format(book=book)
    ).fetchone()
    if state is not None:
        yield _line({"generation": state[0], "oldest": state[1]})
    with connection.cursor("sheet") as rows:  # On the server's side: there may be millions.
        rows.execute(sql.SQL(_ROWS).format(book=book))
        for ref, kind, status, generation, key, identity, erasure, doomed, indexes, of in rows:
            yield _line(
                {
                    "ref": ref.hex,
                    "kind": kind,
                    "state": status,
                    "generation": generation,
                    "wrapped_key": None if key is None else bytes(key).hex(),
                    "identity": None if identity is None else bytes(identity).hex(),
                    "erasure_id": erasure,
                    "doomed": doomed,
                    "index": [
                        [bytes(index).hex(), number]
                        for index, number in zip(indexes or (), of or (), strict=True)
                    ],
                }
            )


def catch_up(
    owner: Connection,
    *,
    schema: str,
    origin: str,
    keys: Keys,
    sheet: Path | None,
    give_up: bool = False,
) -> CaughtUp:
    """Bring a vault that went back in time to what is known now; in the caller's transaction.

    origin: the Book's first one. sheet: the newest there is, its digest verified; None: only the
    keystore tells. give_up: also if contents are lost for want of a newer sheet. Safe to repeat; a
    vault that is up to date stays as it is. Raises SheetMissing; KeyMissing for a keystore that
    never had the vault's keys, and nothing is given up on its word.
    """
    book = sql.Identifier(schema)
    run = owner.execute
    counted = sql.SQL("SELECT count(*) FROM {}.subject WHERE state = 'erased'").format(book)
    before = _number(owner, counted)
    # A hold that was released since may be there again. What it kept is gone: no key opens it.
    run(sql.SQL(_TRIGGERS.format("DISABLE", "DISABLE")).format(book=book))
    if sheet is not None:
        _check_younger(owner, book, sheet)
        _load(owner, sheet)
        marks = {"unrecoverable": UNRECOVERABLE, "restored": RESTORED}
        run(sql.SQL(_TAKE).format(book=book), marks)
        run(sql.SQL(_FOLLOW).format(book=book))
    usable = _usable(keys, origin)
    _check_keystore(owner, book, keys, origin, usable)
    gone = run(sql.SQL(_LOSE).format(book=book), (UNRECOVERABLE, usable, UNRECOVERABLE))
    lost = sum(unexplained for (unexplained,) in gone)
    if lost and not give_up:
        raise SheetMissing(f"{SheetMissing.__doc__} It concerns {lost} in {schema}.")
    run(sql.SQL(_SHRED).format(book=book))
    generation = max(usable, default=1)
    run(
        sql.SQL(
            "UPDATE {}.vault_state SET serial = serial + 1, generation = %s, oldest = %s"
            " WHERE id = 1 AND (generation, oldest) <> (%s, %s)"
        ).format(book),
        (generation, min(usable, default=1)) * 2,
    )
    run(sql.SQL(_TRIGGERS.format("ENABLE", "ENABLE")).format(book=book))
    erased = _number(owner, counted) - before - lost
    return CaughtUp(erased=erased, lost=lost, generation=generation)


def _check_younger(owner: Connection, book: sql.Identifier, sheet: Path) -> None:
    """Refuse a sheet of an earlier generation: it would undo what the vault knows by itself."""
    with sheet.open("rb") as file:
        first = file.readline()
    if not first.startswith(b'{"generation":'):
        raise SheetRefused
    query = sql.SQL("SELECT generation FROM {}.vault_state WHERE id = 1").format(book)
    if json.loads(first)["generation"] < _number(owner, query):
        raise SheetRefused


def _usable(keys: Keys, origin: str) -> list[int]:
    """Return the generations that can still unwrap and look up."""
    made, found = 1, []
    while was_made(keys, wrapping_key(origin, made)):
        if keys.has(wrapping_key(origin, made)) and keys.has(index_key(origin, made)):
            found.append(made)
        made += 1
    return found


def _check_keystore(
    owner: Connection, book: sql.Identifier, keys: Keys, origin: str, usable: Sequence[int]
) -> None:
    """Return if each generation in use is at hand or known to be destroyed; else KeyMissing."""
    query = sql.SQL("SELECT DISTINCT generation FROM {}.subject WHERE state <> 'erased'")
    for (generation,) in owner.execute(query.format(book)).fetchall():
        name = wrapping_key(origin, generation)
        if generation not in usable and not is_destroyed(keys, name):
            raise KeyMissing("the keystore lacks the vault's keys: another keystore?", key=name)


def _load(owner: Connection, sheet: Path) -> None:
    """Read a sheet into two tables that end with the transaction."""
    owner.execute(
        "CREATE TEMPORARY TABLE sheet_subject (ref uuid PRIMARY KEY, state text, generation bigint,"
        " wrapped_key bytea, identity bytea, erasure_id text, doomed bigint) ON COMMIT DROP"
    )
    owner.execute(
        'CREATE TEMPORARY TABLE sheet_index ("index" bytea, generation bigint, ref uuid)'
        " ON COMMIT DROP"
    )
    with owner.cursor() as cursor, cursor.copy("COPY sheet_subject FROM STDIN") as rows:
        for said in _subjects(sheet):
            rows.write_row(
                (
                    UUID(hex=said["ref"]),
                    said["state"],
                    said["generation"],
                    _bytes(said["wrapped_key"]),
                    _bytes(said["identity"]),
                    said["erasure_id"],
                    said["doomed"],
                )
            )
    with owner.cursor() as cursor, cursor.copy("COPY sheet_index FROM STDIN") as rows:
        for said in _subjects(sheet):
            for index, generation in said["index"]:
                rows.write_row((bytes.fromhex(index), generation, UUID(hex=said["ref"])))


def _subjects(sheet: Path) -> Iterator[dict[str, Any]]:
    with sheet.open("rb") as file:
        file.readline()
        for line in file:
            yield json.loads(line)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _number(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row is not None else 0
