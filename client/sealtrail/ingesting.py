# SPDX-License-Identifier: Apache-2.0
"""A loader of data whose members are on record before a program sees them.

    portraits = trail.ingesting(Path("portraits").glob("*.png"), rights="licence:getty-118")
    for path in portraits:              INGEST, and only behind it: this path
        learn(path)

    trail.ingesting(dataset, rights=…, of=lambda row: row["image"])          rows of a data set

A second pass over the same things records only what has changed meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sealtrail.content import Content, content_of, named_file
from sealtrail.fingerprints import npy_bytes
from sealtrail.receipt import Receipt
from sealtrail.request import new_event_id
from sealtrail.verify import canonical

if TYPE_CHECKING:
    from sealtrail.trail import Trail


class Ingesting:
    """An iterable of the things that it was given. Not for several threads at once."""

    def __init__(
        self,
        trail: "Trail",
        things: Iterable[Any],
        *,
        rights: str | Mapping[str, Any],
        of: Callable[[Any], Any] | None = None,
        facts_of: Callable[[Any], Mapping[str, Any]] | None = None,
        **facts: Any,
    ) -> None:
        """of: what of a thing is hashed. facts_of: further facts of a thing, such as its name."""
        self._trail, self._things, self._rights = trail, things, rights
        self._of, self._facts_of, self._facts = of, facts_of, facts
        self._seen: dict[str, str] = {}
        self.last: Receipt | None = None  #: Of the newest INGEST.

    def __iter__(self) -> Iterator[Any]:
        """Yield the things. Raises what `Trail.ingest` raises; then the thing is not handed on."""
        for thing in self._things:
            self._record(thing)
            yield thing

    def __len__(self) -> int:
        """Return how many things there are, for loaders that ask; not all kinds can tell."""
        return len(self._things)  # type: ignore[arg-type]

    @property
    def asset_ids(self) -> list[str]:
        """The assets, in the order in which their bytes were first seen."""
        return list(self._seen.values())

    def input(self, dataset_id: str) -> dict[str, Any]:
        """Return what was handed on so far, as a member of `inputs` of `trail.train`.

        Its manifest is a line of canonical JSON for each asset: id and digest, in their order.
        """
        running = sha256()
        for digest, asset_id in self._seen.items():
            running.update(canonical.encode({"asset": asset_id, "sha256": digest}) + b"\n")
        manifest = f"sha256:{running.hexdigest()}"
        return {"dataset_id": dataset_id, "manifest_digest": manifest, "count": len(self._seen)}

    def _record(self, thing: Any) -> None:
        hashed = thing if self._of is None else self._of(thing)
        content = _content(hashed)
        if content.sha256 in self._seen:
            return
        asset_id = new_event_id()
        facts = {**self._facts, **({} if self._facts_of is None else self._facts_of(thing))}
        if facts.get("c2pa") is True:
            facts["c2pa"] = import_module("sealtrail.c2pa").facts(named_file(hashed))
        self.last = self._trail.ingest(content, rights=self._rights, asset_id=asset_id, **facts)
        self._seen[content.sha256] = asset_id


def _content(thing: Any) -> Content:
    """Return the digests of a thing; an array is hashed as `numpy.save` writes it."""
    if hasattr(thing, "dtype") and hasattr(thing, "shape"):
        return content_of(npy_bytes(thing), mime="application/x-npy")
    return content_of(named_file(thing))  # A text that is meant is given as bytes.
