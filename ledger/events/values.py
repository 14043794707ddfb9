# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that events are made of: strings with one spelling and a length, numbers with bounds.

No floats: decimals are strings, and so is what may exceed 2^53. No nulls: absent means absent.
What is clear in an entry can never be erased. So a clear string is a digest, a code or the name of
a thing; what a person wrote, and what tells who somebody is, is sealed (`Body.sealed`).
Patterns are those of Rust's `regex`, where `$` is the very end of the text.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


class Part(BaseModel):
    """A piece of an event. Frozen, strict, and an unknown field is an error, not a gift."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,  # Errors travel; what was sent may be personal.
    )


class Body(Part):
    """The body of one event type."""

    #: Dotted names that may be sent in `sealed`, `[*]` for an index, and what each means. They are
    #: committed and never clear, unless a member of that name exists: then either is right.
    sealed: ClassVar[dict[str, str]] = {}
    #: Of these, what the value must be; a name that is not here takes any JSON.
    forms: ClassVar[dict[str, Any]] = {}
    #: Of these, whose value it is, where it is not the `user`'s (ledger.vault.owners.ROLES).
    subjects: ClassVar[dict[str, str]] = {}
    #: Members that must be there, clear in the body or sealed.
    needs: ClassVar[tuple[str, ...]] = ()
    #: (member, value) → what must be there, clear or sealed, where that member has that value.
    needs_when: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {}
    #: Names, clear or sealed, whose value is the Digest of an artifact kept outside the entry.
    artifacts: ClassVar[frozenset[str]] = frozenset()
    #: Of a type that only the ledger records: what a client asks instead.
    door: ClassVar[str] = ""


def must(meaning: str, *, name: str | None = None) -> Any:
    """A member that is always there. name: its name in JSON, where Python has none for it."""
    return Field(description=meaning, alias=name)


def may(meaning: str, *, name: str | None = None) -> Any:
    """A member that may be absent; it then reads as None, but a null that was sent is refused."""
    return Field(default=None, description=meaning, alias=name)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a spelling is named in errors and in docs/events.md."""

    name: str  #: Stable name, such as `digest`.
    text: str  #: Completes the sentence "this must be …".


#: Pattern → its rule.
RULES: Final[dict[str, Rule]] = {}


def spelled(name: str, pattern: str, text: str) -> tuple[Any, Rule]:
    """Metadata for a string that matches `pattern` from its beginning to its end."""
    anchored = f"^(?:{pattern})$"
    rule = RULES[anchored] = Rule(name, text)
    return Field(pattern=anchored), rule


def _real(text: str) -> str:
    """Refuse the 30th of February."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("time", "this must be a day that exists") from None
    return text


def _fits_64_bits(text: str) -> str:
    if int(text) >= 2**64:
        raise PydanticCustomError("uint64", "this must be below 2^64")
    return text


_DIGEST = spelled(
    "digest", r"sha256:[0-9a-f]{64}", "`sha256:` and 64 lower-case hexadecimal digits"
)
_MAC = spelled(
    "mac", r"hmac-sha256:[0-9a-f]{64}", "`hmac-sha256:` and 64 lower-case hexadecimal digits"
)
_UUID7 = spelled(
    "uuid7",
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "a UUID of version 7 in lower case",
)
# Identifiers and codes hold no `@`, so that an address cannot be taken for one.
_ID = spelled(
    "identifier",
    r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}",
    "1 to 128 of `A-Z a-z 0-9 . _ : / -`, a letter or digit first",
)
_CODE = spelled(
    "code",
    r"[A-Za-z0-9][A-Za-z0-9._:/+ -]{0,63}",
    "1 to 64 of `A-Z a-z 0-9 . _ : / + -` and the space, a letter or digit first",
)
_TOKEN = spelled("token", r"[!-~]{1,256}", "1 to 256 printable ASCII characters without spaces")
_LINE = spelled("line", r"[^\x00-\x1f\x7f]{1,256}", "one line of 1 to 256 characters")
_TEXT = spelled("text", r"[^\x00-\x08\x0b-\x1f\x7f]{1,2000}", "text of 1 to 2,000 characters")
_DECIMAL = spelled(
    "decimal",
    r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?",
    'a decimal number as a string, such as `"7.5"`, with up to 18 digits on each side',
)
_U64 = spelled(
    "uint64", r"0|[1-9][0-9]{0,19}", 'a whole number below 2^64 as a string, such as `"42"`'
)
_TIME = spelled(
    "time",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z",
    "a UTC time with milliseconds, such as `2026-01-14T18:23:45.123Z`",
)
_DAY = spelled("day", r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a UTC day, such as `2026-01-14`")
_URL = spelled(
    "url",
    r"[a-z][a-z0-9+.-]{0,31}:[!-~]{1,1000}",
    "an absolute address, printable ASCII, up to 1,000 characters after the scheme",
)
_MEDIA_TYPE = spelled(
    "media-type",
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}",
    "a media type in lower case, such as `image/png`",
)
_LANGUAGE = spelled(
    "language", r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}", "a language tag, such as `en` (BCP 47)"
)
_CURRENCY = spelled("currency", r"[A-Z]{3,8}", "a currency code, such as `EUR`")
_FINGERPRINT = spelled(
    "fingerprint", r"[A-Za-z0-9+/=:_-]{1,512}", "1 to 512 of `A-Z a-z 0-9 + / = : _ -`"
)

Digest = Annotated[str, *_DIGEST]
Mac = Annotated[str, *_MAC]
Uuid7 = Annotated[str, *_UUID7]
Id = Annotated[str, *_ID]
Code = Annotated[str, *_CODE]
Token = Annotated[str, *_TOKEN]
Line = Annotated[str, *_LINE]
Text = Annotated[str, *_TEXT]
Decimal = Annotated[str, *_DECIMAL]
U64 = Annotated[str, *_U64, AfterValidator(_fits_64_bits)]
Time = Annotated[str, *_TIME, AfterValidator(_real)]
Day = Annotated[str, *_DAY, AfterValidator(_real)]
Url = Annotated[str, *_URL]
MediaType = Annotated[str, *_MEDIA_TYPE]
Language = Annotated[str, *_LANGUAGE]
Currency = Annotated[str, *_CURRENCY]

#: A number of things, a size or an index, up to the largest that every JSON reader keeps.
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Small = Annotated[int, Field(ge=0, le=10_000_000)]
Pixels = Annotated[int, Field(ge=1, le=1_000_000)]

Codes = Annotated[list[Code], Field(max_length=64)]
Ids = Annotated[list[Id], Field(max_length=64)]
Digests = Annotated[list[Digest], Field(max_length=64)]

#: A decimal number for each label.
Scores = Annotated[dict[Code, Decimal], Field(max_length=64)]


class Fingerprint(Part):
    """A hash that survives re-encoding: it points to likely copies and proves nothing."""

    alg: Code = must("Algorithm, such as `iscc`, `pdq` or `phash`.")
    value: Annotated[str, *_FINGERPRINT] = must("The fingerprint.")


Fingerprints = Annotated[list[Fingerprint], Field(max_length=8)]


class Versioned(Part):
    """A thing with versions, by its digest: a policy, a template, a bundle."""

    id: Id = must("Which one.")
    version: Code = must("In which version.")
    digest: Digest = may("Digest of its exact bytes.")


class Software(Part):
    """The build of a program."""

    name: Line = must("The program.")
    version: Code = must("Its version.")
    digest: Digest = may("Digest of the build.")


class Failure(Part):
    """What went wrong, in codes. The message may hold personal data and is sealed."""

    class_: Code = must("Kind of failure, such as `provider` or `network`.", name="class")
    code: Code = must("The failure's own stable code.")
    stage: Code = must("Where it happened, such as `model`.")
    retryable: bool = must("Whether trying again may help.")
    provider_request_id: Token = may("The provider's id of the failed request.")
