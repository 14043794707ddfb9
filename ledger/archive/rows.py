# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of artifacts: what is expected, what is here, what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from psycopg import sql

from ledger.archive.picture import Picture
from ledger.database import Connection, Database
from ledger.errors import Conflict, IntegrityViolation, NotFound, Unavailable
from ledger.similar.index import archived_hashes, keep

State: TypeAlias = Literal["announced", "missed", "stored", "erased", "expired"]

#: What can still be uploaded: late is better than never.
OPEN: Final = ("announced", "missed")

_COLUMNS: Final = (
    "artifact_id, event_id::text, name, digest, subject_ref, generation, wrapped_key, facts, size,"
    " media_type, state, announced_by, announced_at, deadline, missed_at, stored_at, object,"
    " preview, fingerprint, held"
)
_INSERT: Final = """
INSERT INTO {book}.artifact (artifact_id, event_id, name, digest, subject_ref, generation,
                             wrapped_key, facts, size, media_type, announced_by, announced_at,
                             deadline)
SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
 WHERE %s::bigint IS NULL
    OR %s::bigint = (SELECT generation FROM {book}.artifact_state WHERE id = 1 FOR SHARE)
ON CONFLICT (event_id, name) DO NOTHING
"""
_MISS: Final = """
UPDATE {book}.artifact SET state = 'missed', missed_at = %(now)s
 WHERE state = 'announced' AND deadline < %(now)s RETURNING
"""
_STORE: Final = """
UPDATE {book}.artifact SET state = 'stored', stored_at = %s, preview = %s, fingerprint = %s,
       image_code = %s
 WHERE artifact_id = %s AND state IN ('announced', 'missed')
"""
_CLEAR: Final = """
UPDATE {book}.artifact
   SET state = %s, wrapped_key = NULL, facts = NULL, preview = NULL, fingerprint = NULL
 WHERE state IN ('announced', 'missed', 'stored') AND
"""
_REWRAPPED: Final = """
UPDATE {book}.artifact SET generation = %s, wrapped_key = %s
 WHERE artifact_id = %s AND generation = %s AND wrapped_key IS NOT NULL
"""


class ArtifactMissing(NotFound):
    """This Book knows no such artifact."""

    problem = "artifact-missing"


class WrappingMoved(Unavailable):
    """The key that was to wrap this content's key is being replaced; announce it again."""

    problem = "artifact-wrapping-moved"


class ArtifactChanged(Conflict):
    """This content was announced before with another size or media type."""

    problem = "artifact-changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A row: one content of one event. Personal parts are sealed."""

    artifact_id: UUID
    event_id: str
    name: str
    digest: bytes | None
    subject_ref: UUID | None
    generation: int | None
    wrapped_key: bytes | None = field(repr=False)
    facts: bytes | None = field(repr=False)
    size: int
    media_type: str
    state: State
    announced_by: str
    announced_at: int
    deadline: int
    missed_at: int | None = None
    stored_at: int | None = None
    object: str | None = None
    preview: bytes | None = field(default=None, repr=False)
    fingerprint: bytes | None = None
    held: bool = False  #: Whether a legal hold was put on the object.


class ArtifactRows:
    """Reads and writes the rows of the Book in `schema`, each statement by itself."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database, self._schema = database, schema
        self._book = sql.Identifier(schema)

    def find(self, artifact_id: UUID) -> Artifact:
        """Return an artifact; raises ArtifactMissing."""
        found = self._select("artifact_id = %s", (artifact_id,))
        if not found:
            raise ArtifactMissing
        return found[0]

    def of_events(self, event_ids: Sequence[str]) -> list[Artifact]:
        """Return the artifacts of some events, in order of their ids."""
        return self._select("event_id = ANY(%s::uuid[]) ORDER BY artifact_id", (list(event_ids),))

    def in_state(self, state: State, *, after: UUID, limit: int) -> list[Artifact]:
        """Return artifacts in a state, oldest first, behind `after`."""
        return self._select(
            "state = %s AND artifact_id > %s ORDER BY artifact_id LIMIT %s", (state, after, limit)
        )

    def wrapped_before(self, generation: int, limit: int) -> list[Artifact]:
        """Return the tenant's artifacts whose key lies under an older wrapping key."""
        return self._select(
            "generation < %s AND wrapped_key IS NOT NULL ORDER BY artifact_id LIMIT %s",
            (generation, limit),
        )

    def stored(self) -> int:
        """Return how many artifacts are stored."""
        query = self._sql("SELECT count(*) FROM {book}.artifact WHERE state = 'stored'")
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(query).fetchone()
        return 0 if row is None else int(row[0])

    def counts(self) -> dict[str, int]:
        """Return how many artifacts are open, by state."""
        query = self._sql(
            "SELECT state, count(*) FROM {book}.artifact"
            " WHERE state IN ('announced', 'missed') GROUP BY state"
        )
        with self._database.duty(self._schema, "read") as connection:
            found = dict(connection.execute(query).fetchall())
        return {state: found.get(state, 0) for state in OPEN}

    def add(self, new: Artifact) -> Artifact:
        """Write a row unless there is one for this content; return the one that is there.

        Raises ArtifactChanged if that says something else, WrappingMoved if its key is no longer
        the one that wraps: then nothing is written under a key that is about to be destroyed.
        """
        values = (
            new.artifact_id, new.event_id, new.name, new.digest, new.subject_ref, new.generation,
            new.wrapped_key, new.facts, new.size, new.media_type, new.announced_by,
            new.announced_at, new.deadline, new.generation, new.generation,
        )  # fmt: skip
        with self._database.duty(self._schema, "append") as connection:
            connection.execute(self._sql(_INSERT), values)
        found = self._select("event_id = %s AND name = %s", (new.event_id, new.name))
        if not found:
            raise WrappingMoved
        there = found[0]
        if (there.size, there.media_type) != (new.size, new.media_type):
            raise ArtifactChanged
        return there

    def generation(self) -> int:
        """Return which of the tenant's keys wraps now."""
        query = self._sql("SELECT generation FROM {book}.artifact_state WHERE id = 1")
        with self._database.duty(self._schema, "read") as connection:
            row = connection.execute(query).fetchone()
        if row is None:
            raise IntegrityViolation("the row of the archive's state is gone")
        return int(row[0])

    def move_on(self, generation: int) -> None:
        """Have the tenant's next key wrap from now on: nobody can add a row under an older one."""
        query = "UPDATE {book}.artifact_state SET generation = %s WHERE id = 1 AND generation < %s"
        with self._database.duty(self._schema, "retain") as connection:
            connection.execute(self._sql(query), (generation, generation))

    def name_object(self, artifact_id: UUID, name: str) -> None:
        """Write down the object's name before it is uploaded, so that none is ever orphaned."""
        query = "UPDATE {book}.artifact SET object = %s WHERE artifact_id = %s"
        with self._database.duty(self._schema, "append") as connection:
            connection.execute(self._sql(query), (name, artifact_id))

    def store(
        self, one: Artifact, *, at_ms: int, preview: bytes | None, picture: Picture | None
    ) -> None:
        """Say that an artifact is in the archive; safe to repeat.

        picture: what may be known of it without its key; then others like it can be found.
        """
        phash, code = (picture.fingerprint, picture.image_code) if picture else (None, None)
        with (
            self._database.duty(self._schema, "append") as connection,
            connection.transaction(),
        ):
            row = (at_ms, preview, phash, code, one.artifact_id)
            if connection.execute(self._sql(_STORE), row).rowcount:
                found = [(one.event_id, one.name, h) for h in archived_hashes(code, phash)]
                keep(connection, self._schema, found)

    def miss(self, now_ms: int) -> list[Artifact]:
        """Mark what is not here after its deadline; return what was not marked before."""
        query = sql.SQL("{}{}").format(self._sql(_MISS), sql.SQL(_COLUMNS))
        with self._database.duty(self._schema, "append") as connection:
            return [_artifact(row) for row in connection.execute(query, {"now": now_ms})]

    def clear(
        self, connection: Connection, state: Literal["erased", "expired"], ids: Sequence[UUID]
    ) -> None:
        """Take the keys out of rows, in the caller's transaction, which has the role `retain`."""
        query = sql.SQL("{} artifact_id = ANY(%s)").format(self._sql(_CLEAR))
        connection.execute(query, (state, list(ids)))

    def rewrap(self, one: Artifact, generation: int, wrapped: bytes) -> None:
        """Put the same key, wrapped anew, in the place of the old wrapping."""
        with self._database.duty(self._schema, "retain") as connection:
            connection.execute(
                self._sql(_REWRAPPED), (generation, wrapped, one.artifact_id, one.generation)
            )

    def _select(self, where: str, values: tuple[Any, ...]) -> list[Artifact]:
        query = sql.SQL("SELECT {} FROM {}.artifact WHERE {}").format(
            sql.SQL(_COLUMNS),
            self._book,
            sql.SQL(where),
        )
        with self._database.duty(self._schema, "read") as connection:
            return [_artifact(row) for row in connection.execute(query, values)]

    def _sql(self, query: str) -> sql.Composed:
        return sql.SQL(query).format(book=self._book)


def _artifact(row: tuple[Any, ...]) -> Artifact:
    (artifact_id, event_id, name, digest, ref, generation, wrapped, facts, size, media_type, state,
     by, at, deadline, missed_at, stored_at, object_, preview, fingerprint, held) = row  # fmt: skip
    return Artifact(
        artifact_id=artifact_id,
        event_id=event_id,
        name=name,
        digest=digest,
        subject_ref=ref,
        generation=generation,
        wrapped_key=wrapped,
        facts=facts,
        size=size,
        media_type=media_type,
        state=state,
        announced_by=by,
        announced_at=at,
        deadline=deadline,
        missed_at=missed_at,
        stored_at=stored_at,
        object=object_,
        preview=preview,
        fingerprint=fingerprint,
        held=held,
    )
