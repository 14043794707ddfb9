# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of values that fields are made of. No floats: decimals and 64-bit numbers are strings.

Every string has a greatest length and every list a greatest number of items, so that an entry stays
below its 16 KiB and what is larger becomes an artifact with a digest.
"""

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger import clock
from pydantic import AfterValidator


class Part(BaseModel):
    """A piece of an event. Frozen, strict, and an unknown field is an error, not a gift."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=False)


class Body(Part):
    """The body of one event type."""

    #: Dotted names that may be sent in `sealed`; `[*]` stands for an index. They are personal or
    #: secret, so they are committed and never clear.
    sealed: ClassVar[tuple[str, ...]] = ()
    #: Members that must be there, clear in the body or sealed.
    needs: ClassVar[tuple[str, ...]] = ()


def _time(text: str) -> str:
    clock.parse_time(text)
    return text


_DECIMAL: Final = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Mac = Annotated[str, StringConstraints(pattern=r"^hmac-sha256:[0-9a-f]{64}$")]
Decimal = Annotated[str, StringConstraints(pattern=_DECIMAL)]
U64 = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]{0,19})$")]
Time = Annotated[str, StringConstraints(min_length=24, max_length=24), AfterValidator(_time)]
Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Uuid7 = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    ),
]
#: An identifier: no spaces, no '@', so that an address cannot be taken for one.
Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}$")]
#: A machine's word, such as a reason code.
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/ -]{0,63}$")]
#: A line of text about things, never about persons.
Line = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Url = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+.-]*:[^\s]{1,1000}$")]
MediaType = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}$")
]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3,8}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Small = Annotated[int, Field(ge=0, le=10_000_000)]
Pixels = Annotated[int, Field(ge=1, le=1_000_000)]


class Fingerprint(Part):
    """A perceptual hash: ISCC, PDQ, pHash."""

    alg: Code
    value: Line


class Versioned(Part):
    """A thing with versions, by its digest: a policy, a template, a bundle."""

    id: Id
    version: Code
    digest: Digest | None = None


class Software(Part):
    """The build of a program."""

    name: Line
    version: Code
    digest: Digest | None = None


class Failure(Part):
    """What went wrong, in codes. The message may hold personal data and is sealed."""

    class_: Code = Field(alias="class")
    code: Code
    stage: Code
    retryable: bool
    provider_request_id: Line | None = None
