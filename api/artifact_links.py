# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed links over HTTP: how one is presented, whose it is, and what it looks like."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Query
from pydantic import BaseModel

from anchoring.shelf import Book
from api.state import State
from ledger import clock
from ledger.archive.links import Action, Grant, LinkRefused, Links
from ledger.archive.rows import Artifact
from ledger.request import Identity


class Presented(BaseModel):
    """A signed link's parameters, as somebody presents them."""

    by: str
    expires: str
    purpose: str
    signature: str


def _presented(
    by: Annotated[str | None, Query(max_length=64)] = None,
    expires: Annotated[str | None, Query(max_length=16)] = None,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    signature: Annotated[str | None, Query(max_length=64)] = None,
) -> Presented | None:
    """Return the link that a request comes with; None if it has none, or half of one."""
    if by is None or expires is None or purpose is None or signature is None:
        return None
    return Presented(by=by, expires=expires, purpose=purpose, signature=signature)


Link = Annotated[Presented | None, Depends(_presented)]


def granted(app: State, book: Book, action: Action, artifact_id: str, link: Presented) -> Grant:
    """Return what a link that was presented grants; raises LinkRefused, LinkExpired."""
    links = Links(app.shelf.keys, book.row.first_origin)
    return links.check(action, artifact_id, **link.model_dump())


def still(app: State, book: Book, grant: Grant) -> Identity:
    """Return whose link it is, if their credential is still good for it."""
    identity = app.credentials.by_id(grant.credential)
    role = "pipeline" if grant.action == "upload" else "auditor"
    if identity is None or identity.tenant != book.row.tenant or identity.role != role:
        raise LinkRefused("whoever asked for this link may not do that any more")
    return identity


def link_to(
    app: State,
    book: Book,
    one: Artifact,
    action: Action,
    identity: Identity,
    *,
    purpose: str,
    ttl_s: int | None = None,
) -> dict[str, Any]:
    """Make a link to one artifact, of the credential that asks for it: its address, and its end."""
    expires = clock.now_ms() + (ttl_s or app.link_ttl_s) * 1000
    grant = Grant(
        action=action,
        artifact_id=str(one.artifact_id),
        credential=identity.credential,
        purpose=purpose,
        expires_ms=expires,
    )
    query = Links(app.shelf.keys, book.row.first_origin).query(grant)
    path = "upload" if action == "upload" else "content"
    name = quote(book.row.name, safe="")
    return {
        "url": f"/v1/books/{name}/artifacts/{one.artifact_id}/{path}?{query}",
        "expires_at": clock.rfc3339(expires),
    }
