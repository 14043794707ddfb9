# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way the ledger can say no, in one tree.

LedgerError
├── Refused               change the request; nothing was recorded                      4xx
│   ├── NotJson             the body is not strict JSON                                 400
│   ├── Unauthenticated     no credential, or one that we do not know                   401
│   ├── Forbidden           this credential may not do that                             403
│   ├── NotFound            there is no such thing in this Book                         404
│   ├── Conflict            an id was used for something else, or the lifecycle forbids 409
│   ├── TooLarge            the request is over a limit                                 413
│   └── MalformedEvent      a field breaks a rule                                       422
├── Unavailable           nothing was recorded, or nobody knows; send the same again    503
└── IntegrityViolation    the ledger contradicts itself; stop and wake a human          500

The three branches answer the only question a caller has: change it, repeat it, or stop. A class's
docstring is its default message; `problem` is its stable name in HTTP answers. Facts travel;
values of a request never do, because they may be somebody's personal data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

#: What an operator does when the database is not the one that was signed.
HOW_TO_GO_ON: Final = (
    "`sealtrail-server restore` shows what survives; `restore --accept` opens a new incarnation"
    " over it, and only then is anything written again."
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that breaks one rule. `detail` never holds the field's value."""

    pointer: str  #: JSON pointer into the request, such as `/body/params/seed` (RFC 6901).
    rule: str  #: Stable name of the rule, such as `unknown-field`.
    detail: str  #: A sentence for the person who has to change the request.


class LedgerError(Exception):
    """The ledger refused."""

    status: ClassVar[int] = 500
    problem: ClassVar[str] = "ledger-error"

    def __init__(
        self, message: str = "", *, errors: Sequence[FieldError] = (), **facts: object
    ) -> None:
        super().__init__(message or type(self).__doc__ or type(self).problem)
        self.errors = tuple(errors)
        self.facts = facts  # Shown to the caller: never personal data, never a secret.


class Refused(LedgerError):  # noqa: N818 - an answer, not an accident
    """The request was refused and nothing was recorded; change it before sending it again."""

    status = 400
    problem = "refused"


class NotJson(Refused):
    """The body is not strict JSON (RFC 7493 without floats)."""

    status = 400
    problem = "not-json"


class Unauthenticated(Refused):
    """No credential was sent, or one that this ledger does not know."""

    status = 401
    problem = "unauthenticated"


class Forbidden(Refused):
    """This credential may not do that."""

    status = 403
    problem = "forbidden"


class NotFound(Refused):
    """There is no such thing in this Book."""

    status = 404
    problem = "not-found"


class Conflict(Refused):
    """The request contradicts what is already recorded."""

    status = 409
    problem = "conflict"


class EventConflict(Conflict):
    """This event_id was used before for another request; make a new one for a new event."""

    problem = "event-conflict"


class SourceConflict(Conflict):
    """This source has already used that number for another event."""

    problem = "source-conflict"


class TooLarge(Refused):
    """The request is larger than this ledger takes."""

    status = 413
    problem = "too-large"


class MalformedEvent(Refused):
    """A field of the event breaks a rule; `errors` names each field and rule."""

    status = 422
    problem = "malformed-event"


class Unavailable(LedgerError):  # noqa: N818 - an answer, not an accident
    """The ledger cannot promise durability now; send the same request again."""

    status = 503
    problem = "ledger-unavailable"


class Overloaded(Unavailable):
    """More requests are waiting than the ledger can record soon; send the same request again."""

    problem = "overloaded"


class ClockUnsure(Unavailable):
    """This host's clock and the database's differ too much to date an entry."""

    problem = "clock-unsure"


class IntegrityViolation(LedgerError):  # noqa: N818 - a state, not an accident
    """The ledger contradicts itself. Writing has stopped; a human must look."""

    problem = "integrity-violation"


class HistoryRewritten(IntegrityViolation):
    """The log does not extend a checkpoint that was signed before."""

    problem = "history-rewritten"


class HeadForged(IntegrityViolation):
    """The head row does not carry the tag that this ledger's chain key gives it."""

    problem = "head-forged"


class EntryDamaged(IntegrityViolation):
    """A stored entry and its index columns disagree."""

    problem = "entry-damaged"
