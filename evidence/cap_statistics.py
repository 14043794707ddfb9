# SPDX-License-Identifier: GPL-3.0-or-later
"""How a pack's attempts ended: CAP's invariant, and its statistics of refusals.

    attempts = GEN + GEN_DENY + GEN_ERROR + GEN_WARN + GEN_ESCALATE + GEN_QUARANTINE

The sum of CAP v1.0, and of the SRP schemas before it, whose words for an outcome both stand here.
An attempt that is open makes it false, and is named: a pack never says more than its events do.
"""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from evidence.cap_json import JSON
from evidence.cap_names import OTHER, RISKS

ATTEMPT: Final = "GEN_ATTEMPT"
OUTCOMES: Final = (
    "GEN",
    "GEN_DENY",
    "GEN_ERROR",
    "GEN_WARN",
    "GEN_ESCALATE",
    "GEN_QUARANTINE",
)
FORMULA: Final = "attempts == generated + refusals + errors + warnings + escalations + quarantined"


def completeness(events: Sequence[JSON]) -> JSON:
    """Return the counts and whether each attempt of the pack has exactly one outcome in it."""
    counts = Counter(one["EventType"] for one in events)
    attempts = {one["EventID"] for one in events if one["EventType"] == ATTEMPT}
    ended = Counter(one["AttemptID"] for one in events if one["EventType"] in OUTCOMES)
    valid = ended.keys() == attempts and all(count == 1 for count in ended.values())
    return {
        "TotalAttempts": counts[ATTEMPT],
        **{f"Total{type_}": counts[type_] for type_ in OUTCOMES},
        "InvariantValid": valid,
        "MissingOutcomes": sorted(attempts - ended.keys()),
    }


def refusal_stats(events: Sequence[JSON], period: JSON, made: str) -> JSON:
    """Return `refusal_stats.json`, with the members of CAP's sample; `errors` are new in v1.0."""
    totals = completeness(events)
    attempts = totals["TotalAttempts"]
    counts = [totals[f"Total{type_}"] for type_ in OUTCOMES]
    made_, denied, errors, warned, escalated, held = counts
    return {
        "reportPeriod": {"start": period["Start"], "end": period["End"]},
        "summary": {
            "totalAttempts": attempts,
            "totalGenerated": made_,
            "totalRefusals": denied,
            "totalErrors": errors,
            "totalWarnings": warned,
            "totalEscalations": escalated,
            "totalQuarantined": held,
            "refusalRate": _rate(denied, attempts),
            "allowRate": _rate(made_ + warned, attempts),
        },
        "byCategory": {name: _category(events, name) for name in [*sorted(RISKS), OTHER]},
        "performance": _performance(events),
        "completenessVerification": {
            "status": "PASSED" if totals["InvariantValid"] else "FAILED",
            "formula": FORMULA,
            "calculation": f"{attempts} == {' + '.join(map(str, counts))}",
            "result": totals["InvariantValid"],
            "missingOutcomes": totals["MissingOutcomes"],
        },
        "generatedBy": "sealtrail",
        "generatedAt": made,
    }


def _category(events: Sequence[JSON], name: str) -> JSON:
    judged = [one["EventType"] for one in events if one.get("RiskCategory") == name]
    refused = judged.count("GEN_DENY")
    return {
        "attempts": len(judged),
        "refusals": refused,
        "refusalRate": _rate(refused, len(judged)),
    }


def _performance(events: Sequence[JSON]) -> JSON:
    """How long refusals took, from the attempt's entry to theirs, in whole milliseconds."""
    took = sorted(one["Sealtrail"]["DecisionMs"] for one in events if _refused(one))
    if not took:
        return {}
    nearest = {f"p{share}DecisionTimeMs": _nearest(took, share) for share in (50, 95, 99)}
    return {"averageDecisionTimeMs": round(sum(took) / len(took)), **nearest}


def _refused(one: JSON) -> bool:
    return bool(one["EventType"] == "GEN_DENY")


def _nearest(sorted_: Sequence[int], share: int) -> int:
    """Return the value of nearest rank: the smallest that `share` percent do not exceed."""
    return sorted_[-(-len(sorted_) * share // 100) - 1]


def _rate(part: int, whole: int) -> Any:
    return round(float(Fraction(part, whole)), 6) if whole else 0
