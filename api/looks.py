# SPDX-License-Identifier: GPL-3.0-or-later
"""Every look at content is an entry of the tenant's access Book before the first byte leaves.

One ACCESS entry per query: who (by credential; the person is committed), what for, which entries
or how many, which way. If it cannot be recorded, nothing is shown. Looks at the access Book are
entered in it the same way, once per query, with the snapshot taken before that entry, so that it
ends.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from anchoring.receipt import digest_text
from anchoring.shelf import Shelf
from ledger.errors import FieldError, LedgerError, MalformedEvent, Unavailable
from ledger.lookup import LOG_ID
from ledger.personal import with_person
from ledger.request import Identity, ledger_made
from sealtrail.verify import canonical

UNSTATED: Final = "unstated"
_PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LISTED: Final = 64


class LookUnrecorded(Unavailable):
    """This look could not be entered in the access Book, so nothing is shown."""

    problem = "look-unrecorded"


def purpose_code(header: str | None) -> str:
    """Return the purpose that the reader states: a code, never prose, which could name persons."""
    if header is None:
        return UNSTATED
    if not _PURPOSE.fullmatch(header):
        raise MalformedEvent(
            errors=[
                FieldError(
                    "/headers/sealtrail-purpose",
                    "code",
                    "a purpose is a code of a-z 0-9 . _ -, such as incident-42, at most 64",
                )
            ]
        )
    return header


def look_body(
    *,
    book: str,
    path: str,
    purpose: str,
    event_ids: Sequence[str],
    count: int,
    size: int,
    fields: Sequence[str],
    exported: bool,
    found: str | None = None,
) -> dict[str, Any]:
    """Return what an ACCESS entry says of one look, whoever looked and by whichever way.

    found: a digest over what was found, where that is too much to be listed.
    """
    query: dict[str, canonical.JSON] = {"book": book, "path": path, "event_ids": sorted(event_ids)}
    if found is not None:
        query["found"] = found
    return {
        "purpose": purpose,
        "path": path,
        "book": book,
        "book_size": size,
        "query_digest": digest_text(sha256(canonical.encode(query)).digest()),
        "result_count": count,
        "target_event_ids": sorted(event_ids)[:_LISTED],
        "fields_disclosed": sorted(fields)[:_LISTED],
        "exported": exported,
    }


def note_look(
    shelf: Shelf,
    identity: Identity,
    *,
    book: str,
    path: str,
    purpose: str,
    event_ids: Sequence[str] = (),
    count: int,
    size: int,
    fields: Sequence[str] = (),
    exported: bool = False,
    found: str | None = None,
) -> None:
    """Record a look durably; raises Unavailable, and then nothing may be shown.

    path: the template of the path, such as `/v1/events/{id}`; size: of the Book looked into; found:
    as in `look_body`.
    """
    body = look_body(
        book=book,
        path=path,
        purpose=purpose,
        event_ids=event_ids,
        count=count,
        size=size,
        fields=fields,
        exported=exported,
        found=found,
    )
    human = identity.kind == "person"
    actor = {"kind": "human" if human else "service", "credential": identity.credential}
    entry = ledger_made("ACCESS", LOG_ID, body, actor=actor)
    if human and identity.name:
        entry = with_person(entry, identity.name)
    try:
        shelf.access_book(identity.tenant).record_own(entry)
    except Unavailable:
        raise
    except (LedgerError, TimeoutError) as error:  # A stopped access Book, too, shows nothing.
        raise LookUnrecorded from error
