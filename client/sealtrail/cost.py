# SPDX-License-Identifier: Apache-2.0
"""What calls have used, added up exactly: money as decimals, one sum for each currency."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

#: Digits of a sum: a price has up to 18 on each side, and there may be many.
_DIGITS = 60


@dataclass(slots=True, kw_only=True)
class Cost:
    """A sum over calls. Calls whose price is not known are counted in `unpriced`."""

    calls: int = 0
    unpriced: int = 0
    images: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    by_currency: dict[str, Decimal] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "unpriced": self.unpriced,
            "images": self.images,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": {name: format(sum_, "f") for name, sum_ in sorted(self.by_currency.items())},
        }


def cost_of(usages: Iterable[Mapping[str, Any]]) -> Cost:
    """Add up the `usage` members of outcomes."""
    total = Cost()
    with localcontext() as context:
        context.prec = _DIGITS
        for usage in usages:
            total.calls += 1
            total.images += usage.get("images", 0)
            total.input_tokens += usage.get("input_tokens", 0)
            total.output_tokens += usage.get("output_tokens", 0)
            if "cost" in usage and "currency" in usage:
                before = total.by_currency.get(usage["currency"], Decimal(0))
                total.by_currency[usage["currency"]] = before + Decimal(usage["cost"])
            else:
                total.unpriced += 1
    return total
