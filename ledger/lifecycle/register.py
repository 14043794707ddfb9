# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents in force: published version after version, each by its digest, then retired."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from ledger.lifecycle.aggregate import JSON, Aggregate, Others, OutOfOrder
from ledger.lifecycle.versions import newer


class VersionExists(OutOfOrder):
    """This version is in the register already."""

    problem = "version-exists"


class DigestDiffers(OutOfOrder):
    """A version's digest never changes."""

    problem = "digest-differs"


class VersionUnknown(OutOfOrder):
    """There is no such version in the register."""

    problem = "version-unknown"


class VersionRetired(OutOfOrder):
    """This version is retired."""

    problem = "version-retired"


class VersionNotNewer(OutOfOrder):
    """A version comes after those before it."""

    problem = "version-not-newer"


@dataclass(frozen=True, slots=True)
class Register(Aggregate):
    """One thing with versions. What is in `versions` never changes and never goes."""

    #: Whether each version has to be above the one before.
    ordered: ClassVar[bool] = True

    #: Version → its digest, in their order; None where nobody can have one.
    versions: Mapping[str, str | None] = field(default_factory=dict)
    #: Version → from when on it is retired, as a time of the ledger's spelling; "" for at once.
    retired: Mapping[str, str] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        if not self.versions:
            return "absent"
        return "retired" if len(self.retired) == len(self.versions) else "in force"

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        if type_.endswith("_RETIRED"):
            self._check_retirement(type_, body.get("version"), "/body/version")
        else:
            self._check_new(type_, body["version"], body["digest"], "/body")
            before = body.get("supersedes")
            if before is not None and before != self._newest:
                why = "supersedes names the newest version there is"
                raise self.refuse(type_, why, VersionUnknown, pointer="/body/supersedes")

    def after(self, type_: str, body: JSON) -> Self:
        if type_.endswith("_RETIRED"):
            return self._retire(body.get("version"), body)
        return self._add(body["version"], body["digest"])

    def gone(self, version: str, now: str) -> bool:
        """Say if a version is retired at a time of the ledger's spelling."""
        since = self.retired.get(version)
        return since is not None and since <= now

    @property
    def _newest(self) -> str | None:
        return next(reversed(list(self.versions)), None)

    def _check_new(self, type_: str, version: str, digest: str | None, pointer: str) -> None:
        newest = self._newest
        if version in self.versions:
            if self.versions[version] != digest:
                why = "this version is in the register with another digest"
                raise self.refuse(type_, why, DigestDiffers, pointer=f"{pointer}/version")
            why = "this version is in the register already"
            raise self.refuse(type_, why, VersionExists, pointer=f"{pointer}/version")
        if self.ordered and newest is not None and not newer(version, newest):
            why = "this version is not above the newest one"
            raise self.refuse(type_, why, VersionNotNewer, pointer=f"{pointer}/version")
        self.check_room(type_)

    def _check_known(self, type_: str, version: str, pointer: str) -> None:
        if version not in self.versions:
            why = "no such version is in the register"
            raise self.refuse(type_, why, VersionUnknown, pointer=pointer)

    def _check_retirement(self, type_: str, version: str | None, pointer: str) -> None:
        if version is not None:
            self._check_known(type_, version, pointer)
            if version in self.retired:
                why = "this version was retired before"
                raise self.refuse(type_, why, VersionRetired, pointer=pointer)
        elif not self.versions:
            raise self.refuse(type_, "there is nothing to retire", VersionUnknown)
        elif len(self.retired) == len(self.versions):
            raise self.refuse(type_, "all its versions were retired before", VersionRetired)

    def _add(self, version: str, digest: str | None) -> Self:
        return replace(self, version=self.version + 1, versions={**self.versions, version: digest})

    def _retire(self, version: str | None, body: JSON) -> Self:
        since: str = body.get("effective_at", "")
        these = list(self.versions) if version is None else [version]
        retired = dict.fromkeys(these, since) | dict(self.retired)
        return replace(self, version=self.version + 1, retired=retired)


class Policy(Register):
    """A policy."""

    __slots__ = ()
    kind = "Policy"


class PromptTemplate(Register):
    """A prompt template."""

    __slots__ = ()
    kind = "PromptTemplate"


class ConsentText(Register):
    """The words under which people consent."""

    __slots__ = ()
    kind = "ConsentText"


class TransparencyTemplate(Register):
    """The words by which people learn that something was generated."""

    __slots__ = ()
    kind = "TransparencyTemplate"
