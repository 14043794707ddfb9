# SPDX-License-Identifier: Apache-2.0
"""What was checked, what came of it, and what nobody checked.

Each check is one Finding with one of three verdicts. The whole is `refuted` if any check is, else
`incomplete` if any is, else `verified`; without a single check it is `incomplete`.

    record 7 · GEN
      entry        canonical, leaf sha256:9c0d...                        ok
      inclusion    position 7 of 12 under root sha256:5f1e...            ok
    NOT CHECKED
      - who the persons behind the entries are
    VERIFIED

Text that came out of a packet is shown with its control and direction characters spelled out, so
that it cannot rewrite the lines around it.
"""

import json
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from sealtrail.verify.canonical import JSON
from sealtrail.verify.errors import Incomplete, Refuted, Unreadable

Verdict = Literal["verified", "refuted", "incomplete"]

#: How a process that verifies ends; 2 is wrong usage, 4 means the bytes could not be read.
EXIT: Final[Mapping[Verdict, int]] = {"verified": 0, "refuted": 1, "incomplete": 3}
EXIT_USAGE: Final = 2
EXIT_UNREADABLE: Final = 4

_MARK: Final[Mapping[Verdict, str]] = {
    "verified": "ok",
    "refuted": "REFUTED",
    "incomplete": "incomplete",
}
_CHECK_WIDTH: Final = 13
_SENTENCE_WIDTH: Final = 78

_Result = TypeVar("_Result")
Told = tuple[str, dict[str, JSON]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `facts` are the same for programs; digests in them as `sha256:<hex>`."""

    subject: str
    check: str
    verdict: Verdict
    sentence: str
    facts: Mapping[str, JSON]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All findings about one file, and what they leave open."""

    subject: str
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings' verdicts; a report without findings proves nothing."""
        verdicts = {finding.verdict for finding in self.findings}
        if "refuted" in verdicts:
            return "refuted"
        return "verified" if verdicts == {"verified"} else "incomplete"

    def text(self) -> str:
        """The report for people, the verdict as its last line."""
        lines = [visible(self.subject)]
        subject = ""
        for finding in self.findings:
            if finding.subject != subject:
                subject = finding.subject
                lines.append(visible(subject))
            lines.extend(_lines(finding))
        lines.append("NOT CHECKED")
        for item in self.not_checked:
            lines.extend(
                textwrap.wrap(visible(item), 96, initial_indent="  - ", subsequent_indent="    ")
            )
        lines.append(self.verdict.upper())
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """The report for programs, in one JSON object; nothing outside ASCII."""
        whole = {
            "verdict": self.verdict,
            "subject": self.subject,
            "findings": [
                {
                    "subject": finding.subject,
                    "check": finding.check,
                    "verdict": finding.verdict,
                    "sentence": finding.sentence,
                    "facts": dict(finding.facts),
                }
                for finding in self.findings
            ],
            "not_checked": list(self.not_checked),
        }
        return json.dumps(whole, indent=2) + "\n"


@dataclass(slots=True, kw_only=True)
class Docket:
    """Where the findings of one run are written down, in order."""

    findings: list[Finding] = field(default_factory=list)

    def enter(
        self, subject: str, check: str, verdict: Verdict, sentence: str, **facts: Any
    ) -> None:
        self.findings.append(
            Finding(subject=subject, check=check, verdict=verdict, sentence=sentence, facts=facts)
        )

    def judge(
        self,
        subject: str,
        check: str,
        action: Callable[[], _Result],
        tell: Callable[[_Result], Told],
    ) -> _Result | None:
        """Run one check and enter what came of it; None if it did not end well.

        tell: the sentence and the facts to enter for a result. Bytes inside a packet that do not
        parse refute it: whoever made the packet had readable ones.
        """
        try:
            result = action()
        except Incomplete as reason:
            self.enter(subject, check, "incomplete", str(reason))
            return None
        except (Refuted, Unreadable) as reason:
            self.enter(subject, check, "refuted", str(reason))
            return None
        sentence, facts = tell(result)
        self.enter(subject, check, "verified", sentence, **facts)
        return result


def visible(text: str) -> str:
    """`text` with every character spelled out that could hide, move or end other text."""
    return "".join(c if _plain(c) else f"\\u{{{ord(c):x}}}" for c in text)


def _plain(character: str) -> bool:
    # Categories C* are control, format (bidi), surrogate, private and unassigned; Z* separators.
    category = unicodedata.category(character)
    return character == " " or not (category.startswith(("C", "Z")))


def _lines(finding: Finding) -> Iterable[str]:
    """The check's name, its sentence, and the mark at the end of the sentence's first line."""
    rows = textwrap.wrap(visible(finding.sentence), _SENTENCE_WIDTH, break_on_hyphens=False) or [""]
    mark = _MARK[finding.verdict]
    yield f"  {finding.check:<{_CHECK_WIDTH}}{rows[0]:<{_SENTENCE_WIDTH}}  {mark}"
    for row in rows[1:]:
        yield " " * (_CHECK_WIDTH + 2) + row
