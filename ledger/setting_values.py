# SPDX-License-Identifier: GPL-3.0-or-later
"""How the text of a setting is read: each reader takes one spelling and refuses all others.

A refusal is a ValueError with a sentence that does not show the text, which may hold a password.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """One RFC 3161 time-stamping authority: the name used in reports, and where it answers."""

    name: str
    url: str


def one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of: {', '.join(words)}.")
        return text

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        # The pattern first: int() also takes underscores, spaces and other scripts' digits.
        if not re.fullmatch(r"0|[1-9][0-9]{0,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}.")
        return int(text)

    return read


def path(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise ValueError("must be an absolute path.")
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketName:
    """A bucket of S3, and what the key of every object in it begins with."""

    bucket: str
    prefix: str  #: Empty, or ending in a slash.


def archive(text: str) -> Path | BucketName:
    """Read an absolute path, or `s3://bucket` with or without `/prefix`."""
    found = re.fullmatch(
        r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9._/-]{0,200}))?", text
    )
    if found is not None:
        prefix = (found[2] or "").strip("/")
        return BucketName(bucket=found[1], prefix=f"{prefix}/" if prefix else "")
    if not Path(text).is_absolute():
        raise ValueError("must be an absolute path, or s3://bucket/prefix.")
    return Path(text)


def database(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("must be a PostgreSQL URL: postgresql://user:password@host:port/database.")
    return text


def authorities(text: str) -> tuple[Authority, ...]:
    found: list[Authority] = []
    for part in text.split(","):
        name, equals, url = part.strip().partition("=")
        if not equals or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name):
            raise ValueError("must be name=url, name=url; a name is a-z, 0-9, dot and dash.")
        if not is_web(url):
            raise ValueError("holds a URL that is not http or https.")
        if name in {authority.name for authority in found}:
            raise ValueError("names one authority twice.")
        found.append(Authority(name=name, url=url))
    return tuple(found)


def is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message would show the URL
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def web(text: str) -> str:
    if not is_web(text):
        raise ValueError("must be an http or https URL.")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCheck:
    """Which tenants refuse what names something unknown; the others record it as it was sent."""

    refuse: bool = False
    others: frozenset[str] = frozenset()  #: Tenants for which it is the other way round.

    def strict(self, tenant: str) -> bool:
        """Say if this tenant refuses."""
        return self.refuse is not (tenant in self.others)

    def __str__(self) -> str:
        return "refuse" if self.refuse else "flag"


def link_check(text: str) -> LinkCheck:
    """Read `flag` or `refuse`, and after it tenants that have it otherwise: `flag,acme=refuse`."""
    default, *tenants = text.split(",")
    modes = {"flag": False, "refuse": True}
    others = set()
    for one in tenants:
        name, _, mode = one.strip().partition("=")
        if mode not in modes or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            raise ValueError("must be flag or refuse, then tenants: flag,acme=refuse.")
        if modes[mode] is not modes.get(default):
            others.add(name)
    if default not in modes:
        raise ValueError("must be flag or refuse, then tenants: flag,acme=refuse.")
    return LinkCheck(refuse=modes[default], others=frozenset(others))


def label(text: str) -> str:
    if not re.fullmatch(r"[!-~]([ -~]{0,30}[!-~])?", text):
        raise ValueError("must be 1 to 32 printable ASCII characters.")
    return text


def object_identifier(text: str) -> str:
    if not re.fullmatch(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,20}", text):
        raise ValueError("must be an object identifier such as 1.2.3.4.1.")
    return text


def host(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z.:-]{1,253}|unix:/[!-~]{1,90}", text):
        raise ValueError("must be an address, a host name, or unix: and an absolute path.")
    return text


def time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("must be a time of day in UTC, HH:MM.")
    return text


def model(text: str) -> str:
    if not re.fullmatch(r"/[!-~]{1,500}|[a-z][a-z0-9_]{1,63}", text):
        raise ValueError("must be the name of an installed spaCy model, or its absolute path.")
    return text
