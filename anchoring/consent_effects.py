# SPDX-License-Identifier: GPL-3.0-or-later
"""What a consent's words promised for its revocation is begun, once, whatever crashes.

    CONSENT_REVOKED ──► the text's version, in the log ──► erase: ERASURE_REQUESTED by the ledger
          │                                            ├─► hold: LEGAL_HOLD_PLACED, the revocation
          │                                            │         as its matter
          └───────────── CONSENT_EFFECTED ◄────────────┴─► none

An erasure that the ledger asks for is approved by two persons, and by nobody before; holds defer it
as any other. The ids of what is begun follow from the revocation's, so a crash between two of these
entries begins nothing twice. What cannot be begun now waits for the next look, and a person hears
of it. Whose consent it was is opened in the vault and appears nowhere but by a random name.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Final, NamedTuple
from uuid import UUID

from anchoring.alerts import raise_alert
from anchoring.shelf import Book
from ledger.desk.consents import Consent, ConsentProjection, consent_of, waiting
from ledger.erasure.deciding import NotAskedSo, SubjectUnknown
from ledger.erasure.erasures import Erasures
from ledger.errors import IntegrityViolation, LedgerError, Unavailable
from ledger.holds import HoldExists, HoldReleased, Holds
from ledger.lookup import LOG_ID
from ledger.readmodel.follower import catch_up
from ledger.request import ledger_made
from ledger.retention.tiers import BodyCold, BodyExpired
from ledger.vault.owners import NAMES
from sealtrail.verify.disclosure import PERSON

JSON = dict[str, Any]

log = logging.getLogger("sealtrail.consents")

#: GDPR 17(1)(b): consent is withdrawn and there is no other ground.
BASIS: Final = "gdpr-17-1-b"
AUTHORITY: Final = "consent-revocation"

TEXT_UNKNOWN: Final = "consent-text-unknown"
DIFFERS: Final = "consent-effects-differ"
IMPOSSIBLE: Final = "consent-effect-impossible"
TO_APPROVE: Final = "erasure-to-approve"

_LABEL: Final = b"sealtrail.consent.effect.v1\0"
_PAGE: Final = 200
_TRIES: Final = 8
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('sealtrail.consents'), hashtext(%s))"
_IMPOSSIBLE: Final = ("producer-custody", "subject-unclear")
_DECLARED: Final = {"erase": {"erase", "delete"}, "hold": {"hold"}, "none": {"none"}}


class Begun(NamedTuple):
    """What became of one revocation, for whoever watches."""

    consent_id: str
    started: str  #: `erasure`, `hold` or `none`.
    ref: str | None


def effect_id(revocation: str, turn: int = 0) -> str:
    """Return the id of what a revocation begins: a UUID of version 7 with the event's time.

    turn: above 0 if somebody used the one before for another matter.
    """
    event = UUID(revocation).int
    chance = sha256(_LABEL + event.to_bytes(16) + bytes([turn])).digest()
    random = int.from_bytes(chance[:16]) & ((1 << 80) - 1)
    number = event >> 80 << 80 | random
    number = number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    return str(UUID(int=number))


def begin_effects(book: Book) -> list[Begun]:
    """Begin what every revocation promised that has no CONSENT_EFFECTED; safe to repeat.

    A revocation that cannot be dealt with keeps no other from it. Raises Unavailable,
    IntegrityViolation.
    """
    schema, begun, after = book.row.schema, [], -1
    catch_up(book.database, schema, [ConsentProjection.name])
    while page := waiting(book.database, schema, after=after, limit=_PAGE):
        for consent in page:
            try:
                done = _begin(book, consent.consent_id)
            except (Unavailable, IntegrityViolation):
                raise
            except LedgerError as error:  # Without what it says: it may hold names of things.
                log.error("%s: a revocation waits: %s", book.row.name, error.problem)  # noqa: TRY400
                continue
            if done is not None:
                begun.append(done)
        after = page[-1].revoked or after
    return begun


def _begin(book: Book, consent_id: str) -> Begun | None:
    """Begin the effect of one revocation; None if it was begun or has to wait."""
    with _alone(book):
        catch_up(book.database, book.row.schema, [ConsentProjection.name])
        consent = consent_of(book.database, book.row.schema, consent_id)
        if consent is None or consent.revocation is None or consent.effected is not None:
            return None
        about = f"Consent/{consent_id}"
        promised = _promise(book, consent)
        if promised is None:
            facts = {"text": consent.text_id, "version": consent.text_version}
            raise_alert(book, TEXT_UNKNOWN, about, {**facts, "revocation": consent.revocation})
            return None
        effect = _effect(book, consent, consent.revocation, promised)
        if _differs(consent, promised):
            effect["declared_differs"] = True
            raise_alert(book, DIFFERS, about, {"revocation": consent.revocation, **_told(effect)})
        body = {
            "consent_id": consent_id,
            "revocation": consent.revocation,
            "text_id": consent.text_id,
            "text_version": consent.text_version,
            "promised": promised,
            **effect,
        }
        if effect.get("reason_code") in _IMPOSSIBLE:
            raise_alert(
                book, IMPOSSIBLE, about, {"revocation": consent.revocation, **_told(effect)}
            )
        if effect["started"] == "erasure":
            raise_alert(book, TO_APPROVE, f"Erasure/{effect['ref']}", {"consent": consent_id})
        _record_effect(book, body)
        return Begun(consent_id, effect["started"], effect.get("ref"))


def _record_effect(book: Book, body: JSON) -> None:
    book.record_own(ledger_made("CONSENT_EFFECTED", LOG_ID, body))


def _promise(book: Book, consent: Consent) -> str | None:
    """Return what the text's version promises, as the log has it; None if it is not there."""
    for stored in book.reader.of_stream(f"ConsentText/{consent.text_id}"):
        body = stored.entry.value["body"]
        published = stored.entry.value["type"] == "CONSENT_TEXT_PUBLISHED"
        if published and body["version"] == consent.text_version:
            # Other words than these were shown: nobody knows what they promised.
            same = body["digest"] == consent.text_digest
            return str(body.get("on_revocation", "none")) if same else None
    return None


def _effect(book: Book, consent: Consent, revocation: str, promised: str) -> JSON:
    """Begin what was promised; returns what CONSENT_EFFECTED says of it."""
    if promised == "none":
        return {"started": "none", "reason_code": "nothing-promised"}
    ref = _subject(book, consent)
    if isinstance(ref, str):
        return {"started": "none", "reason_code": ref}
    effect: JSON = {"subject_ref": str(ref)}
    subject = book.vault.subject(ref)
    if subject is None or subject.state == "erased":
        return {**effect, "started": "none", "reason_code": "erased-before"}
    if promised == "hold":
        return {**effect, "started": "hold", "ref": _hold(book, revocation, ref)}
    try:
        erasure_id = _erasure(book, revocation, ref)
    except SubjectUnknown:
        effect["started"], effect["reason_code"] = "none", "erased-before"
        return effect
    effect |= {"started": "erasure", "ref": erasure_id}
    if erasure_id not in [effect_id(revocation, turn) for turn in range(_TRIES)]:
        effect["joined"] = True
    return effect


def _erasure(book: Book, revocation: str, ref: UUID) -> str:
    """Ask for the erasure of a subject; returns its id, or that of one under way."""
    for turn in range(_TRIES):
        try:
            case = Erasures.of(book).request_by_ledger(
                basis=BASIS, ref=ref, erasure_id=effect_id(revocation, turn)
            )
        except NotAskedSo:
            continue  # Somebody used this id for another subject.
        return case.erasure_id
    raise NotAskedSo


def _hold(book: Book, revocation: str, ref: UUID) -> str:
    """Hold everything of a subject; returns the hold's id, released meanwhile or not."""
    for turn in range(_TRIES):
        hold_id = effect_id(revocation, turn)
        try:
            Holds.of(book).apply(
                {"subjects": [str(ref)]},
                matter=revocation,
                authority=AUTHORITY,
                hold_id=hold_id,
            )
        except HoldExists:
            continue  # Somebody used this id for another matter.
        except HoldReleased:
            pass  # It was placed before a crash, and a person has released it since.
        return hold_id
    raise HoldExists


def _subject(book: Book, consent: Consent) -> UUID | str:
    """Return whose consent it was: who was depicted, or else the person of the event.

    Or why nobody here knows. Of an event with several subjects of whom one is erased it cannot be
    said which one that was, and nobody is erased on a guess.
    """
    depicted = NAMES["depicted"]
    try:
        sd = book.reader.find(consent.event_id).entry.value.get("_sd", ())
    except (BodyCold, BodyExpired):
        sd = None  # The entry is not at hand; what is sealed is authentic all the same.
    opened = book.vault.open(consent.event_id, [PERSON, depicted], sd=sd)
    if depicted in opened.owners:
        return opened.owners[depicted]
    if PERSON in opened.owners:
        return "subject-unclear" if opened.gone else opened.owners[PERSON]
    if len(opened.gone) == 1:
        return opened.gone[0].ref
    return "subject-unclear" if opened.gone else "producer-custody"


def _differs(consent: Consent, promised: str) -> bool:
    """Say if the client claims to have done another thing than the words promise."""
    if consent.declared is None:
        return False
    kinds = {str(one["kind"]) for one in json.loads(consent.declared)}
    return bool(kinds) and not (kinds <= _DECLARED[promised])


def _told(effect: JSON) -> dict[str, str]:
    names = ("started", "ref", "reason_code")
    return {name: str(effect[name]) for name in names if name in effect}


@contextmanager
def _alone(book: Book) -> Iterator[None]:
    """Wait until nobody else begins effects in this Book."""
    schema = book.row.schema
    with book.database.duty(schema, "append") as connection, connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '30s'")
        connection.execute(_LOCK, (schema,))
        yield
