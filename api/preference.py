# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the forms that an answer may have its reader likes best (RFC 9110 §12.5.1)."""

import re

JSON = "application/json"
TEXT = "text/plain"
CSV = "text/csv"


def preferred(accept: str, *offered: str) -> str:
    """Return the one of `offered` that an Accept header names with the highest weight.

    Of equal ones the later; the first, if it names none of them: that is what programs get.
    """
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((_weight(one[2:]) for one in parameters if one.startswith("q=")), 1.0)
        if media_type in offered:
            weights[media_type] = weight
    liked = [one for one in reversed(offered) if weights.get(one, 0.0) > 0]
    return max(liked, key=weights.__getitem__, default=offered[0])


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", text, re.ASCII) else 0.0
