# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to a credential and a Book: who asks, and which log it is about.

`/v1/books/{name}/…` names the Book; without a prefix it is the token's own, and without a token the
main Book of the only tenant. What is public is public for every Book; content is for the tenant's
own auditors.

KNOWN GAP: whoever asks for public documents of many Books in turn, which needs no credential, makes
a process with more Books than SEALTRAIL_BOOKS_OPEN_MAX close and open them without end. Considered:
a shelf that only reads, for strangers. Until then the proxy in front limits callers.
"""

from anchoring.shelf import Book, Shelf
from ledger.access import Credentials
from ledger.errors import Forbidden, NotFound, Unauthenticated
from ledger.request import Identity


def bearer(authorization: str | None) -> str | None:
    """Return the token of an `Authorization: Bearer` header, None without a header."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or " " in token:
        raise Unauthenticated("send `Authorization: Bearer <token>`")
    return token


def identify(credentials: Credentials, authorization: str | None) -> Identity:
    """Return whose request this is; raises Unauthenticated."""
    token = bearer(authorization)
    if token is None:
        raise Unauthenticated
    return credentials.identify(token)


def auditor(identity: Identity) -> Identity:
    """Return the identity if it may read content; a pipeline's token cannot."""
    if identity.role != "auditor":
        raise Forbidden("a pipeline's credential appends and reads nothing")
    return identity


def own_book(shelf: Shelf, identity: Identity, name: str | None) -> Book:
    """Return a Book of the caller's tenant: the named one, else the main one."""
    wanted = name or identity.tenant
    row = shelf.rows().get(wanted)
    if row is None or row.tenant != identity.tenant:
        raise NotFound("there is no such Book for this credential")
    return shelf.book(wanted)


def public_book(shelf: Shelf, identity: Identity | None, name: str | None) -> Book:
    """Return the Book whose public documents are asked for."""
    if name is not None:
        return shelf.book(name)
    if identity is not None:
        return shelf.book(identity.tenant)
    main = [row.name for row in shelf.rows().values() if row.kind == "main"]
    if len(main) != 1:
        raise NotFound("name the Book: /v1/books/{name}/…")
    return shelf.book(main[0])
