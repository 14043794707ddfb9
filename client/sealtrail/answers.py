# SPDX-License-Identifier: Apache-2.0
"""What an answer of the ledger is worth, whether a thread or an event loop waited for it."""

from typing import Any, Final

from sealtrail.errors import AuditUnavailable, ReceiptInvalid, Refused
from sealtrail.receipt import Receipt, check_receipt
from sealtrail.request import Sent
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError
from sealtrail.verify.trust import Trust
from sealtrail.wire import Answer

#: What the ledger answers only after it has looked whether it holds the event already.
_LOOKED: Final = frozenset({400, 409, 410, 422})


def receipt_of(answer: Answer, sent: Sent, trust: Trust | None) -> Receipt:
    """The receipt in an answer to an event, checked.

    Raises what `judged` and `check_receipt` raise, and ReceiptInvalid for another status.
    """
    judged(answer)
    repeat = answer.headers.get("sealtrail-repeat") == "true"
    if answer.status != (200 if repeat else 201):
        raise ReceiptInvalid(
            f"The ledger answered {answer.status}, which is no answer to an event.", check="status"
        )
    return check_receipt(answer.body, sent, trust=trust, repeat=repeat)


def too_large() -> ReceiptInvalid:
    """The error for an answer that was given up for its length."""
    return ReceiptInvalid("The answer is longer than any true one can be.", check="size")


def judged(answer: Answer) -> Answer:
    """Return an answer below 300. Raises Refused for 4xx and AuditUnavailable for all the rest."""
    refused = 400 <= answer.status < 500
    # A token that was taken away since says nothing about the attempt before.
    if refused and (answer.status in _LOOKED or not answer.doubted):
        raise Refused(answer.status, members_of(answer))
    if not 200 <= answer.status < 300:
        # 500 says that the ledger contradicts itself: more attempts would not help. What
        # stands behind a redirect is not the ledger that was asked.
        raise AuditUnavailable(
            f"The ledger answered {answer.status}. Nobody knows whether it recorded the "
            "request; sending the same request again is safe.",
            attempts=1,
            status=answer.status,
        )
    return answer


def members_of(answer: Answer) -> dict[str, Any]:
    """The answer's JSON members; none if it is something else, such as a proxy's page."""
    try:
        members = canonical.parse(answer.body)
    except VerifyError:
        return {}
    return members if isinstance(members, dict) else {}
