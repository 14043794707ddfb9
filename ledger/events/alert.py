# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger noticed and a person must look at, and that a person did."""

from typing import Annotated

from pydantic import Field

from ledger.events.values import Body, Code, Line, Uuid7, may, must

Facts = Annotated[dict[Code, Line], Field(max_length=16)]


class AlertRaised(Body):
    """Something needs a person. Recorded once for each thing that it is about."""

    code: Code = must("What was noticed, such as `review-overdue`.")
    about: Line = must("The one thing that it is about, by its name in this Book; never a person.")
    facts: Facts = must("What is known of it; numbers and times as strings.")


class AlertAcknowledged(Body):
    """A person has seen an alert and answers for it."""

    alert: Uuid7 = must("Event of the alert.")
    reason: Code = may("What became of it, in a code.")
