# SPDX-License-Identifier: GPL-3.0-or-later
"""What every endpoint may ask for: the Books, the credentials, the settings, the caller."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Header, Request

from anchoring.shelf import Book, Shelf
from api.alert_watch import AlertWatch
from api.archive_watch import ArchiveWatch
from api.identity import auditor, identify, own_book, public_book
from api.looks import note_look, purpose_code
from api.night_watch import NightWatch
from ledger.access import Credentials
from ledger.archive.artifacts import Storeroom
from ledger.request import Identity
from ledger.setting_values import LinkCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The process's own things, made once at start."""

    shelf: Shelf
    credentials: Credentials
    trust_file: Path
    packet_dir: Path
    packet_ttl_s: int
    checkers: int = 0  #: Processes that check requests beside this one.
    link_check: LinkCheck = field(default_factory=LinkCheck)
    storeroom: Storeroom | None = None  #: None: no archive, so no artifacts.
    link_ttl_s: int = 900  #: How long a signed link to one artifact works.
    night_watch: NightWatch = field(default_factory=NightWatch)
    archive_watch: ArchiveWatch = field(default_factory=ArchiveWatch)
    alert_watch: AlertWatch = field(default_factory=AlertWatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An auditor's request: whose it is, which Book it looks into, and what for."""

    identity: Identity
    book: Book
    purpose: str

    def note(
        self,
        shelf: Shelf,
        path: str,
        *,
        count: int,
        size: int | None = None,
        event_ids: Sequence[str] = (),
        fields: Sequence[str] = (),
        exported: bool = False,
        found: str | None = None,
    ) -> None:
        """Enter this look in the access Book (`note_look`), before anything is shown.

        size: of the Book, if its present one is not the one that was looked into; found: a digest
        over what was found, where that is too much to be listed.
        """
        note_look(
            shelf,
            self.identity,
            book=self.book.row.name,
            path=path,
            purpose=self.purpose,
            event_ids=event_ids,
            count=count,
            size=self.book.notary.size if size is None else size,
            fields=fields,
            exported=exported,
            found=found,
        )


async def state(request: Request) -> State:  # Async: a plain one costs a hop to a thread.
    found: State = request.app.state.sealtrail
    return found


AppState = Annotated[State, Depends(state)]


def maybe_identity(
    app: AppState, authorization: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Identity | None:
    """Return the caller if a credential was sent; a wrong one is refused even on public paths."""
    return None if authorization is None else identify(app.credentials, authorization)


async def _book_name(request: Request) -> str | None:
    name = request.path_params.get("book")
    return None if name is None else str(name)


def book_in_public(app: State, identity: Identity | None, name: str | None) -> Book:
    return public_book(app.shelf, identity, name)


def _public_book(
    app: AppState,
    name: Annotated[str | None, Depends(_book_name)],
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Book:
    """Find the caller and the Book in one hop to a thread."""
    return book_in_public(app, maybe_identity(app, authorization), name)


def look(
    app: AppState,
    name: Annotated[str | None, Depends(_book_name)],
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    sealtrail_purpose: Annotated[str | None, Header()] = None,
) -> Look:
    """Return an auditor's look; raises Unauthenticated, Forbidden, NotFound, MalformedEvent."""
    identity = auditor(identify(app.credentials, authorization))
    return Look(
        identity=identity,
        book=own_book(app.shelf, identity, name),
        purpose=purpose_code(sealtrail_purpose),
    )


PublicBook = Annotated[Book, Depends(_public_book)]
AuditorLook = Annotated[Look, Depends(look)]
