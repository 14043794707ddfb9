# SPDX-License-Identifier: GPL-3.0-or-later
"""What was in force when something was used: registers of things, judged in the order of the log.

    *_PUBLISHED, MODEL_*, CONSENT_*  ──►  register: one row for each entry, never changed
    an entry that names a thing      ──►  flags: what the rows before it say against that

An entry is judged by what the log said at its own position and not by what came later. So a flag
is the same whenever the read model is made, and a consent that is revoked today flags nothing of
yesterday.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from psycopg import sql

from ledger import arrays, clock
from ledger.database import Connection
from ledger.readmodel.terms import version_of
from ledger.references import linked_consents, model_stream
from sealtrail.verify import canonical

JSON = dict[str, Any]

#: Each flag and what it means; docs/search.md has them from here.
FLAGS: Final = {
    "unknown-model": "the model or this version of it was never registered",
    "retired-model": "it was retired",
    "model-differs": "its manifest is not the one that was registered",
    "unknown-policy": "the policy or this version of it was never published",
    "retired-policy": "it was retired",
    "policy-differs": "its digest is not the one that was published",
    "unknown-template": "the prompt template or this version of it was never published",
    "retired-template": "it was retired",
    "template-differs": "its digest is not the one that was published",
    "unknown-text": "the consent text or this version of it was never published",
    "retired-text": "it was retired",
    "text-differs": "the words that were shown are not the ones that were published",
    "unknown-consent": "nobody gave this consent",
    "revoked-consent": "the consent was revoked",
    "expired-consent": "the consent's time was over",
    "declined-consent": "the person had said no",
}

#: What an entry of a register says: the register's kind, and how the thing stands then.
_SAYS: Final = {
    "MODEL_REGISTERED": ("model", "registered"),
    "MODEL_DEPLOYED": ("model", "deployed"),
    "MODEL_PINNED": ("model", "pinned"),
    "MODEL_RETIRED": ("model", "retired"),
    "POLICY_PUBLISHED": ("policy", "published"),
    "POLICY_RETIRED": ("policy", "retired"),
    "PROMPT_TEMPLATE_PUBLISHED": ("template", "published"),
    "PROMPT_TEMPLATE_RETIRED": ("template", "retired"),
    "CONSENT_TEXT_PUBLISHED": ("text", "published"),
    "CONSENT_TEXT_RETIRED": ("text", "retired"),
    "TRANSPARENCY_TEMPLATE_PUBLISHED": ("label", "published"),
    "TRANSPARENCY_TEMPLATE_RETIRED": ("label", "retired"),
    "CONSENT_GRANTED": ("consent", "granted"),
    "CONSENT_REVOKED": ("consent", "revoked"),
    "CONSENT_EXPIRED": ("consent", "expired"),
    "DATASET_SEALED": ("dataset", "sealed"),
    "DATASET_SUPERSEDED": ("dataset", "superseded"),
}

_INSERT: Final = """
INSERT INTO {book}.register (kind, id, version, since, status, event_id, recorded_at, effective_at,
                             until_at, digest, ticket, said)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::uuid[],
                     %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
"""
_LOAD: Final = """
SELECT r.kind, r.id, r.version, r.since, r.status, r.event_id::text, r.recorded_at, r.effective_at,
       r.until_at, r.digest, r.ticket, r.said
  FROM unnest(%s::text[], %s::text[]) AS u (kind, id)
  JOIN {book}.register r ON r.kind = u.kind AND r.id = u.id ORDER BY r.since
"""


class Row(NamedTuple):
    """One row of a register."""

    kind: str
    id: str
    version: str  #: '' for all of them, or of what has none.
    since: int
    status: str
    event_id: str
    recorded_ms: int
    effective_ms: int
    until_ms: int | None
    digest: str | None
    ticket: str | None
    said: str


class Named(NamedTuple):
    """A thing that an entry names."""

    kind: str
    id: str
    version: str = ""
    digest: str | None = None


class Registers:
    """What is known of some things, row by row."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[Row]] = {}

    def load(self, connection: Connection, schema: str, named: Iterable[Named]) -> None:
        """Read what the registers say of these things."""
        wanted = sorted({(one.kind, one.id) for one in named})
        if not wanted:
            return
        query = sql.SQL(_LOAD).format(book=sql.Identifier(schema))
        kinds, ids = zip(*wanted, strict=True)
        for row in connection.execute(query, (arrays.texts(kinds), arrays.texts(ids))):
            self.add(Row(*row))

    def add(self, row: Row) -> None:
        self._rows.setdefault((row.kind, row.id), []).append(row)

    def flags(self, one: Named, position: int, at_ms: int) -> Iterator[str]:
        """Yield what was amiss with a thing when the entry at a position named it."""
        rows = sorted(
            [
                row
                for row in self._rows.get((one.kind, one.id), ())
                if row.since < position and row.version in ("", one.version)
            ],
            key=lambda row: row.since,
        )
        if not any(row.version == one.version for row in rows):
            yield f"unknown-{one.kind}"
            return
        known = {row.digest for row in rows if row.version == one.version and row.digest}
        if one.digest is not None and known and one.digest not in known:
            yield f"{one.kind}-differs"
        last = [row for row in rows if row.effective_ms <= at_ms]
        status = last[-1].status if last else None
        if one.kind != "consent":
            if status == "retired":
                yield f"retired-{one.kind}"
        elif status in ("revoked", "expired", "declined"):
            yield f"{status}-consent"
        elif last and last[-1].until_ms is not None and last[-1].until_ms <= at_ms:
            yield "expired-consent"


def row_of(entry: JSON, position: int, recorded_ms: int) -> Row | None:
    """Return what an entry says to a register; None for one that says nothing to any.

    Of an entry whose bytes are gone this is what remains of it, which may be too little.
    """
    says = _SAYS.get(entry["type"])
    if says is None:
        return None
    kind, status = says
    body = entry["body"]
    version = "" if kind == "consent" else version_of(entry)
    if not version and kind != "consent" and status != "retired":
        return None
    consent = body.get("consent") or {}
    if status == "granted" and consent.get("action") == "opt_out":
        status = "declined"
    effective = body.get("effective_from") or body.get("effective_at")
    until = consent.get("expires_at")
    return Row(
        kind=kind,
        id=entry["aggregate"]["id"],
        version=version,
        since=position,
        status=status,
        event_id=entry["event_id"],
        recorded_ms=recorded_ms,
        effective_ms=recorded_ms if effective is None else clock.parse_time(effective),
        until_ms=None if until is None else clock.parse_time(until),
        digest=_digest(kind, body),
        ticket=body.get("change_ticket"),
        said=canonical.encode(body).decode(),
    )


def named_in(entry: JSON) -> list[Named]:
    """Return the things of registers that an entry names and rests on."""
    body = entry["body"]
    found = []
    if entry["aggregate"]["type"] != "Model" and isinstance(body.get("model"), dict):
        model = body["model"]
        if {"provider", "name", "version"} <= model.keys():
            id_ = model_stream(model).removeprefix("Model/")
            found.append(Named("model", id_, model["version"], model.get("manifest")))
    template = (body.get("prompt") or {}).get("template")
    policies = (body.get("policy"), (body.get("mod") or {}).get("policy"))
    for kind, thing in (("template", template), *(("policy", one) for one in policies)):
        if thing is not None:
            found.append(Named(kind, thing["id"], thing["version"], thing.get("digest")))
    links = linked_consents(entry["type"], entry.get("links", ()))
    consents = [*body.get("consent_ids", ()), *(id_ for _, id_, certain in links if certain)]
    reference = (body.get("rights") or {}).get("consent_ref")
    consents += [] if reference is None else [reference]
    found += [Named("consent", one) for one in dict.fromkeys(consents)]
    consent = body.get("consent") or {}
    if "text_id" in consent:
        text = (consent["text_id"], consent["text_version"], consent["text_digest"])
        found.append(Named("text", *text))
    return found


def describe() -> str:
    """Return the table of flags in docs/search.md."""
    lines = ["| flag | means |", "| --- | --- |"]
    lines += [f"| `{flag}` | {meaning} |" for flag, meaning in FLAGS.items()]
    return "\n".join(lines) + "\n"


def insert(connection: Connection, schema: str, rows: list[Row]) -> None:
    """Write rows into the registers."""
    if not rows:
        return
    columns = list(zip(*rows, strict=True))
    values = (
        *(arrays.texts(columns[n]) for n in (0, 1, 2)),
        arrays.bigints(columns[3]),
        arrays.texts(columns[4]),
        arrays.uuids(columns[5]),
        *(arrays.bigints(columns[n]) for n in (6, 7)),
        arrays.optional_bigints(columns[8]),
        *(arrays.optional_texts(columns[n]) for n in (9, 10)),
        arrays.texts(columns[11]),
    )
    connection.execute(sql.SQL(_INSERT).format(book=sql.Identifier(schema)), values)


def _digest(kind: str, body: JSON) -> str | None:
    if kind == "model":
        for place, name in (("manifest", "digest"), ("weights", "snapshot")):
            found = (body.get(place) or {}).get(name)
            if found is not None:
                return str(found)
        manifest = (body.get("model") or {}).get("manifest")
        return None if manifest is None else str(manifest)
    if kind == "consent":
        found = (body.get("consent") or {}).get("text_digest")
    elif kind == "dataset":
        found = (body.get("dataset") or body).get("manifest_digest")
    else:
        found = body.get("digest")
    return None if found is None else str(found)
