# SPDX-License-Identifier: GPL-3.0-or-later
"""A house with an archive: events that name content, and the content."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from house import House, attempt, gen, ingest
from PIL import Image

from ledger.archive.artifacts import Artifacts, Terms
from ledger.archive.directory import DirectoryArchive
from ledger.archive.spool import UploadSpool
from ledger.vault.vault import Vault


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def picture(width: int = 96, height: int = 64, *, seed: int = 1, form: str = "PNG") -> bytes:
    """A picture with something to see in it."""
    noise = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    image.save(data, form)
    return data.getvalue()


@dataclass
class Gallery:
    """The artifacts of a house's main Book, and who posts what names them."""

    house: House
    archive: Any
    spool: UploadSpool
    terms: Terms

    @property
    def artifacts(self) -> Artifacts:
        """As a process that has just started has them."""
        return Artifacts(
            self.house.book,
            self.archive,
            self.spool,
            terms=self.terms,
            now_ms=self.house.now_ms,
        )

    @property
    def vault(self) -> Vault:
        return self.house.book.vault

    def post(self, request: dict[str, Any]) -> str:
        """Record an event with its sealed values; returns its id."""
        self.house.post(request)
        return str(request["event_id"])

    def upload_of(self, content: bytes, **changes: Any) -> str:
        """An ingested user's upload: its digest is committed."""
        request = ingest(**changes)
        del request["body"]["asset"]["sha256"]
        return self.post({**request, "sealed": {"asset.sha256": digest_of(content)}})

    def output_of(self, content: bytes, **output: Any) -> str:
        """A generation whose output's digest is clear."""
        first = attempt()
        self.post(first)
        outcome = gen(first["aggregate_id"])
        outcome["body"]["outputs"][0].update({"sha256": digest_of(content), **output})
        return self.post(outcome)

    def announced(self, content: bytes, *, media_type: str = "image/png", **event: Any) -> Any:
        """An output, announced."""
        event_id = self.output_of(content, **event)
        return self.artifacts.announce(
            event_id,
            "outputs[0].sha256",
            size=len(content),
            media_type=media_type,
            credential="cred_test",
        )

    def stored(self, content: bytes, **how: Any) -> Any:
        one = self.announced(content, **how)
        return self.artifacts.append(one.artifact_id, 0, [content])


def gallery_in(house: House, archive: Any = None, *, terms: Terms | None = None) -> Gallery:
    directory = house.directory
    return Gallery(
        house=house,
        archive=archive or DirectoryArchive(directory / "archive", now_ms=house.now_ms),
        spool=UploadSpool(directory / "uploads"),
        terms=terms or Terms(),
    )
