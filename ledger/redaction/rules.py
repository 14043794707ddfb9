# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant's rules of redaction: what is hidden in the copies of prompts that can be searched.

    {"v": 1,
     "without": ["URL"],                             entities that everybody hides, but not this one
     "regions": ["US", "DE"],                        whose telephone numbers are recognised
     "terms": ["Project Nightingale"],               words to hide, whatever case they are in
     "patterns": {"CUSTOMER": "C-[0-9]{6}"},         numbers of the tenant's own
     "keep": ["press@acme.example"]}                 never hidden

Every member but `v` may be missing. A pattern is a row of characters, escapes and classes, each
repeated a bounded number of times: no `*`, no `+`, no groups. So a prompt can be matched in a time
that is proportional to its length, whoever wrote it, and no prompt can stop the follower.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import FieldError, MalformedEvent
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

#: What is hidden unless a tenant says otherwise, by the library's names of it.
ENTITIES: Final = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS",
    "CRYPTO", "URL", "US_SSN", "US_ITIN", "UK_NHS", "UK_NINO", "DE_TAX_ID", "DE_SOCIAL_SECURITY",
    "ES_NIF", "ES_NIE", "IT_FISCAL_CODE", "PL_PESEL", "FI_PERSONAL_IDENTITY_CODE",
    "SE_PERSONNUMMER", "AU_TFN", "AU_MEDICARE", "CA_SIN", "IN_AADHAAR", "IN_PAN", "KR_RRN",
    "SG_NRIC_FIN", "TR_NATIONAL_ID", "TH_TNIN", "ZA_ID_NUMBER", "PERSON", "LOCATION",
)  # fmt: skip
REGIONS: Final = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "CA", "BR")

_MEMBERS: Final = {"v", "without", "regions", "terms", "patterns", "keep"}
_TERMS_MAX, _TERM_MAX = 1_000, 100
_PATTERNS_MAX, _PATTERN_MAX = 50, 200
_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_REGION: Final = re.compile(r"[A-Z]{2}")
_PATTERN: Final = re.compile(
    r"(?:(?:\\[dDwWsSbB.\-+*?()\[\]{}|/\\^$]|\[\^?[^\[\]\\^]{1,64}\]|[^\\\[\](){}*+?|^$])"
    r"(?:\{[0-9]{1,2}(?:,[0-9]{1,2})?\}|\?)?)+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a tenant hides."""

    version: int = 0  #: 0: everybody's rules, because the tenant has none.
    without: tuple[str, ...] = ()
    regions: tuple[str, ...] = REGIONS
    terms: tuple[str, ...] = ()
    patterns: Mapping[str, str] | None = None
    keep: tuple[str, ...] = ()

    @property
    def entities(self) -> tuple[str, ...]:
        return tuple(one for one in ENTITIES if one not in self.without)

    @classmethod
    def parse(cls, data: bytes | str, *, version: int) -> "Rules":
        """Read a tenant's rules; raises MalformedEvent with each rule that is broken."""
        try:
            said = canonical.parse(data)
        except VerifyError:
            raise _malformed(("/", "json", "is not strict JSON")) from None
        if not isinstance(said, dict) or said.get("v") != 1 or not said.keys() <= _MEMBERS:
            raise _malformed(("/", "members", f"holds v = 1 and some of {sorted(_MEMBERS)}"))
        wrong = [*_wrong_lists(said), *_wrong_patterns(said.get("patterns", {}))]
        if wrong:
            raise _malformed(*wrong)
        lists: dict[str, Any] = {
            name: tuple(said[name])
            for name in ("without", "regions", "terms", "keep")
            if name in said
        }
        patterns: Any = said.get("patterns")
        return cls(version=version, patterns=patterns, **lists)


def _wrong_lists(said: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    def fits(name: str, most: int, rule: Any) -> bool:
        value = said.get(name, [])
        return (
            isinstance(value, list)
            and len(value) <= most
            and all(isinstance(one, str) and rule(one) for one in value)
        )

    def term(text: str) -> bool:
        return 2 <= len(text) <= _TERM_MAX and text.isprintable() and text.strip() == text

    known = ENTITIES.__contains__
    checks = (
        ("without", fits("without", len(ENTITIES), known), f"is some of {', '.join(ENTITIES)}"),
        ("regions", fits("regions", 60, _REGION.fullmatch), "is a list of country codes"),
        ("terms", fits("terms", _TERMS_MAX, term), "is at most 1,000 of 2 to 100 characters"),
        ("keep", fits("keep", _TERMS_MAX, term), "is at most 1,000 of 2 to 100 characters"),
    )
    return [(f"/{name}", name, told) for name, good, told in checks if not good]


def _wrong_patterns(patterns: Any) -> list[tuple[str, str, str]]:
    if not isinstance(patterns, dict) or len(patterns) > _PATTERNS_MAX:
        return [("/patterns", "patterns", "is an object of at most 50 patterns by name")]
    for name, pattern in patterns.items():
        if not _NAME.fullmatch(name) or name in ENTITIES:
            return [("/patterns", "name", "a pattern's name is A-Z 0-9 _, and not a library's")]
        if not isinstance(pattern, str) or len(pattern) > _PATTERN_MAX or not _safe(pattern):
            told = "is characters, classes and escapes, each repeated at most {m,n} times or ?"
            return [(f"/patterns/{name}", "pattern", told)]
    return []


def _safe(pattern: str) -> bool:
    """Whether a pattern takes linear time, compiles, and does not match nothing at all."""
    if not _PATTERN.fullmatch(pattern):
        return False
    try:
        return re.compile(pattern).fullmatch("") is None
    except re.error:
        return False


def _malformed(*wrong: tuple[str, str, str]) -> MalformedEvent:
    return MalformedEvent(
        f"the rules of redaction: {'; '.join(f'{at} {told}' for at, _, told in wrong)}",
        errors=[FieldError(at, rule, told) for at, rule, told in wrong],
    )
