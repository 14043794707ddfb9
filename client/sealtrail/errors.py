# SPDX-License-Identifier: Apache-2.0
"""Every way recording an event can end other than with a receipt.

RecorderError
├── Refused            the ledger said no; nothing was recorded: change the request
├── AuditUnavailable   nobody knows whether it was recorded: send the same event again
├── ReceiptInvalid     the answer does not prove what it claims: stop and wake a human
└── OutcomeLate        recorded, but after the ledger's own timeout: withhold the output

In none of the four may an output be handed on. The messages hold no value of the request and no
text of the answer that is not one of the ledger's own short names, so they may be logged.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sealtrail.receipt import Receipt


class RecorderError(Exception):
    """The event has no valid receipt; do not hand on the output it stands for.

    event_id and record_key are those of the event, or None where no event was being posted.
    Posting again with the same two, and the same content, records the event once. Whoever holds
    record_key can open the event's commitments: it must be kept like the prompt itself.
    """

    def __init__(
        self, message: str, *, event_id: str | None = None, record_key: bytes | None = None
    ) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.record_key = record_key

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as our own kind: pools of processes hand errors on, and wait for ever if not."""
        kind = next(one for one in type(self).__mro__ if globals().get(one.__name__) is one)
        return _restored, (kind, str(self)), dict(self.__dict__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One rule that one member of the request broke; `pointer` is a JSON pointer (RFC 6901)."""

    pointer: str
    rule: str
    detail: str


class Refused(RecorderError):  # noqa: N818 - an answer, not an accident
    """The ledger refused the request and recorded nothing; something in it has to change.

    status is the HTTP status, code the ledger's stable name for the reason, errors what is wrong
    with which member. title and detail are the ledger's words.
    """

    def __init__(
        self,
        status: int,
        problem: dict[str, Any],
        *,
        event_id: str | None = None,
        record_key: bytes | None = None,
    ) -> None:
        self.status = status
        self.code = _name(problem.get("code"))
        self.title = _text(problem.get("title"))
        self.detail = _text(problem.get("detail"))
        listed = problem.get("errors")
        self.errors = tuple(
            FieldError(
                pointer=_text(one.get("pointer")),
                rule=_text(one.get("rule")),
                detail=_text(one.get("detail")),
            )
            for one in (listed if isinstance(listed, list) else ())
            if isinstance(one, dict)
        )
        rules = [f"{_name(one.pointer)} {_name(one.rule)}" for one in self.errors[:8]]
        where = ": " + ", ".join(rules) if rules else ""
        super().__init__(
            f"The ledger refused the request ({status} {self.code}){where}.",
            event_id=event_id,
            record_key=record_key,
        )


class AuditUnavailable(RecorderError):  # noqa: N818 - an answer, not an accident
    """No usable answer came: the event may be recorded or not, nobody here knows.

    attempts says how often it was sent, status the last HTTP status if there was one,
    retry_after_s what the ledger asked to wait if it asked for more than was waited.
    """

    def __init__(
        self,
        message: str,
        *,
        attempts: int,
        status: int | None = None,
        retry_after_s: int | None = None,
        event_id: str | None = None,
        record_key: bytes | None = None,
    ) -> None:
        super().__init__(message, event_id=event_id, record_key=record_key)
        self.attempts = attempts
        self.status = status
        self.retry_after_s = retry_after_s


class ReceiptInvalid(RecorderError):  # noqa: N818 - an answer, not an accident
    """The ledger's answer does not prove that this event stands in its log.

    check is the stable short name of the check that failed. The event may be recorded; whether
    the ledger is broken, or somebody in between lies, cannot be told from here.
    """

    def __init__(
        self,
        message: str,
        *,
        check: str,
        event_id: str | None = None,
        record_key: bytes | None = None,
    ) -> None:
        super().__init__(message, event_id=event_id, record_key=record_key)
        self.check = check


class OutcomeLate(RecorderError):  # noqa: N818 - an answer, not an accident
    """The outcome came after the ledger had closed the attempt; the output must be withheld.

    `receipt` is valid: it proves the entry of type OUTCOME_LATE that holds the claimed outcome.
    """

    def __init__(self, receipt: "Receipt", *, record_key: bytes) -> None:
        super().__init__(
            "The outcome was recorded as late: the attempt had timed out. Withhold the output.",
            event_id=receipt.event_id,
            record_key=record_key,
        )
        self.receipt = receipt


class NotRecordable(RecorderError):  # noqa: N818 - an answer, not an accident
    """The call cannot be put on record, so it was not made. No value of it is repeated."""


class AlreadyCalled(RecorderError):  # noqa: N818 - an answer, not an accident
    """The model was called and its answer withheld; an SDK that tries again would pay twice."""


def _restored(kind: type[RecorderError], message: str) -> RecorderError:
    return kind.__new__(kind, message)


#: What the ledger names things: codes, rules, pointers. Anything else is not repeated.
_OURS = re.compile(r"[A-Za-z0-9_./\[\]-]{1,100}")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(value: object) -> str:
    return value if isinstance(value, str) and _OURS.fullmatch(value) else "unnamed"
