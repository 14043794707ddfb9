# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds what names or identifies a person in a text, and puts the kind of it in its place.

    "mail erika@example.org, IBAN DE89 3704 0044 0532 0130 00"
    "mail [EMAIL_ADDRESS], IBAN [IBAN_CODE]"

Patterns and check digits are those of Microsoft's Presidio, telephone numbers those of Google's
libphonenumber; names and places are found by a spaCy model, if the operator has installed one. The
loop over the patterns is ours: Presidio leaves a pattern out that takes too long and goes on, so a
prompt made to be slow would have been shown as redacted. Here it is not redacted, and not shown.

Before anything is looked for, the text is folded (Unicode NFKC) and invisible characters are left
out: full-width digits and a zero-width space in the middle of an address hide nothing.

KNOWN GAP: what no pattern knows is not hidden: names without a model, names a model does not know,
addresses, a person described in other words. A redacted copy is for searching, not for publishing;
it is sealed, and shown to auditors only. Considered: showing placeholders alone, which finds
nothing.
"""

import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, cast

from ledger import clock
from ledger.errors import FieldError, MalformedEvent, Unavailable
from ledger.redaction.rules import Rules

#: A text is looked at in pieces of so many characters, which overlap: time grows with its length.
_PIECE: Final = 1_000
_OVERLAP: Final = 250
_PATTERN_S: Final = 1.0  #: For one pattern in one piece; it takes milliseconds.
_TEXT_S: Final = 4.0  #: For all of a text, which may have 64 KiB.
_LEAST: Final = 0.3  #: Presidio's score below which a find is a mere run of digits.

_MODEL_LABELS: Final = {
    "PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION",
}  # fmt: skip


class RedactionMissing(Unavailable):
    """Redaction is not installed here: pip install 'sealtrail-server[redaction]'."""

    problem = "redaction-missing"


class TooSlow(Exception):  # noqa: N818 - a verdict on a text, not an accident
    """A pattern took so long that the text must count as not redacted."""


class Span(NamedTuple):
    """A find: where, and what it is."""

    begin: int
    end: int
    entity: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    entity: str
    compiled: Any  #: A pattern of the module `regex`, which knows time-outs.
    score: float
    recognizer: Any  #: Knows the check digits.


def installed() -> bool:
    """Whether there is a library to redact with."""
    return find_spec("presidio_analyzer") is not None


class Detector:
    """Redacts by one tenant's rules. Making one loads the library: a second, and 150 MB.

    model: name or directory of an installed spaCy model; None: names are not found.
    """

    def __init__(self, rules: Rules, model: str | None = None) -> None:
        if not installed():
            raise RedactionMissing
        logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)
        self._keep = {folded(one).casefold() for one in rules.keep}
        self._patterns = list(_patterns(rules))
        self._regions = rules.regions if "PHONE_NUMBER" in rules.entities else ()
        self._names = {"PERSON", "LOCATION"} & set(rules.entities)
        self._model = _model(model) if model is not None and self._names else None

    def redact(self, text: str) -> str:
        """Return the text, folded, with each find replaced by [ENTITY]. Raises TooSlow."""
        text = folded(text)
        parts, at = [], 0
        for begin, end, entity in _merged(self._found(text)):
            parts += [text[at:begin], f"[{entity}]"]
            at = end
        return "".join([*parts, text[at:]])

    def _found(self, text: str) -> Iterator[Span]:
        until = clock.monotonic() + _TEXT_S
        for start in range(0, max(1, len(text)), _PIECE - _OVERLAP):
            if clock.monotonic() > until:
                raise TooSlow
            piece = text[start : start + _PIECE]
            for begin, end, entity in self._in_piece(piece):
                if piece[begin:end].casefold() not in self._keep:
                    yield Span(start + begin, start + end, entity)

    def _in_piece(self, piece: str) -> Iterator[Span]:
        for pattern in self._patterns:
            yield from _matches(pattern, piece)
        yield from self._telephones(piece)
        if self._model is not None:
            for one in self._model(piece).ents:
                entity = _MODEL_LABELS.get(one.label_)
                if entity in self._names:
                    yield Span(one.start_char, one.end_char, str(entity))

    def _telephones(self, piece: str) -> Iterator[Span]:
        from phonenumbers import Leniency, PhoneNumberMatcher  # noqa: PLC0415 - an extra, and heavy

        if sum(map(str.isdigit, piece)) < 6:
            return
        for region in self._regions:
            for one in PhoneNumberMatcher(piece, region, leniency=Leniency.VALID):
                yield Span(one.start, one.end, "PHONE_NUMBER")


def check_regions(rules: Rules) -> None:
    """Refuse a country whose telephone numbers nobody knows, where the library is installed."""
    if installed():
        from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415 - an extra, and heavy

        if not SUPPORTED_REGIONS.issuperset(rules.regions):
            told = "is of ISO 3166 codes of countries with telephones, such as GB and not UK"
            raise MalformedEvent(
                f"the rules of redaction: /regions {told}",
                errors=[FieldError("/regions", "regions", told)],
            )


def folded(text: str) -> str:
    """Return the text as it is looked at: NFKC, without characters that cannot be seen."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(one for one in text if unicodedata.category(one) not in ("Cf", "Cs"))


def _patterns(rules: Rules) -> Iterator[_Pattern]:
    """Yield the library's patterns of the entities that are hidden, and the tenant's own."""
    import regex  # noqa: PLC0415 - an extra, and heavy
    from presidio_analyzer import Pattern, PatternRecognizer, predefined_recognizers  # noqa: PLC0415 - an extra, and heavy

    flags = regex.DOTALL | regex.MULTILINE | regex.IGNORECASE
    wanted = set(rules.entities)
    kinds: list[Any] = [
        getattr(predefined_recognizers, name) for name in dir(predefined_recognizers)
    ]
    recognizers: list[Any] = [
        made
        for kind in kinds
        if isinstance(kind, type)
        and issubclass(kind, PatternRecognizer)
        and (made := cast("Any", kind)()).supported_entities[0] in wanted
    ]
    if rules.terms:
        own = Pattern(name="TERM", regex=_any_of(rules.terms), score=1.0)
        recognizers.append(PatternRecognizer(supported_entity="TERM", patterns=[own]))
    for name, pattern in (rules.patterns or {}).items():
        own = Pattern(name=name, regex=pattern, score=1.0)
        recognizers.append(PatternRecognizer(supported_entity=name, patterns=[own]))
    for recognizer in recognizers:
        for one in recognizer.patterns:
            compiled = regex.compile(one.regex, flags)
            yield _Pattern(recognizer.supported_entities[0], compiled, one.score, recognizer)


def _any_of(terms: Iterable[str]) -> str:
    """Return a pattern of whole words; a line break or two spaces between them hide nothing."""
    longest_first = sorted(map(folded, terms), key=len, reverse=True)
    spelled = [r"\s+".join(map(re.escape, term.split())) for term in longest_first]
    return rf"(?<!\w)(?:{'|'.join(spelled)})(?!\w)"


def _matches(pattern: _Pattern, piece: str) -> Iterator[Span]:
    try:
        for match in pattern.compiled.finditer(piece, timeout=_PATTERN_S):
            begin, end = match.span()
            if begin < end and _counts(pattern, piece[begin:end]):
                yield Span(begin, end, pattern.entity)
    except TimeoutError:
        raise TooSlow from None


def _counts(pattern: _Pattern, found: str) -> bool:
    """Whether a match is believed: its check digits, or a form that nothing else has."""
    if pattern.entity in ("EMAIL_ADDRESS", "URL"):
        return True  # The library would look the domain up in a list that it fetches.
    valid = pattern.recognizer.validate_result(found)
    if valid is False or pattern.recognizer.invalidate_result(found):
        return False
    return valid is True or pattern.score >= _LEAST


def _merged(spans: Iterator[Span]) -> list[Span]:
    """Return the spans in order; of those that overlap one, named after the longest."""
    merged: list[Span] = []
    longest = 0
    for one in sorted(set(spans), key=lambda span: (span.begin, -span.end)):
        if merged and one.begin < merged[-1].end:
            last = merged[-1]
            entity = last.entity
            if one.end - one.begin > longest:
                entity, longest = one.entity, one.end - one.begin
            merged[-1] = Span(last.begin, max(last.end, one.end), entity)
        else:
            merged.append(one)
            longest = one.end - one.begin
    return merged


def _model(name: str) -> Any:
    import spacy  # noqa: PLC0415 - an extra, and heavy

    try:
        return spacy.load(name)
    except OSError as error:
        raise RedactionMissing(
            "the spaCy model of SEALTRAIL_REDACTION_MODEL is not here"
        ) from error
