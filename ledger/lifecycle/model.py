# SPDX-License-Identifier: GPL-3.0-or-later
"""A model in the register: versions whose manifest never changes, in use only once registered."""

from typing import Self

from ledger.lifecycle.aggregate import JSON, Others
from ledger.lifecycle.register import DigestDiffers, Register, VersionRetired


class Model(Register):
    """A model with its versions; they come in any order, as providers name them."""

    __slots__ = ()
    kind = "Model"
    ordered = False

    def check(self, type_: str, body: JSON, others: Others, *, by_ledger: bool) -> None:
        del others, by_ledger
        version, pointer = body.get("model", {}).get("version"), "/body/model/version"
        if type_ == "MODEL_RETIRED":
            self._check_retirement(type_, version, pointer)
        elif type_ == "MODEL_REGISTERED":
            self._check_new(type_, version, _manifest(body), "/body/model")
        else:
            self._check_use(type_, version, body["model"].get("manifest"), pointer)

    def after(self, type_: str, body: JSON) -> Self:
        version = body.get("model", {}).get("version")
        if type_ == "MODEL_RETIRED":
            return self._retire(version, body)
        if type_ == "MODEL_REGISTERED":
            return self._add(version, _manifest(body))
        return self._same()

    def _check_use(self, type_: str, version: str, manifest: str | None, pointer: str) -> None:
        self._check_known(type_, version, pointer)
        if version in self.retired:
            why = "this version is retired and does not go into use"
            raise self.refuse(type_, why, VersionRetired, pointer=pointer)
        if manifest is not None and manifest != self.versions[version]:
            why = "this version is registered with another manifest, or with none"
            raise self.refuse(type_, why, DigestDiffers, pointer="/body/model/manifest")
        self.check_room(type_)


def _manifest(body: JSON) -> str | None:
    """Return the digest by which a version is known; None for a hosted model without one."""
    digest: str | None = body.get("manifest", {}).get("digest")
    return digest
