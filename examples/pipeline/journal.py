# SPDX-License-Identifier: Apache-2.0
"""What the pipeline keeps for itself: receipts, what opens its commitments, and its files.

    out/run.json                 event ids, positions, digests, disclosures: the client's journal
    out/receipts/0007-GEN.json   each receipt, which `sealtrail verify` reads
    out/images/...               pictures, written only when the entry about them is receipted

The journal is written anew after every event, whole or not at all, and only its owner may read
it: the disclosures in it are the prompts and the person.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sealtrail import Receipt
from sealtrail.verify import canonical


class Journal:
    """The journal of one run in one directory. A second run needs a directory of its own."""

    def __init__(self, out: Path) -> None:
        """Raises FileExistsError if a run was recorded in `out` before."""
        self._out = out
        self._path = out / "run.json"
        if self._path.exists():
            raise FileExistsError(f"{self._path} holds an earlier run")
        (out / "receipts").mkdir(parents=True, exist_ok=True)
        self._events: list[dict[str, Any]] = []
        self._disclosures: dict[str, dict[str, str]] = {}
        self._facts: dict[str, Any] = {"v": 1}

    def event(self, receipt: Receipt, aggregate_id: str) -> None:
        """Keep a receipt, and what opens the commitments of its entry."""
        name = f"receipts/{receipt.position:04}-{receipt.type}.json"
        receipt.save(self._out / name)
        self._facts["origin"] = receipt.origin
        self._disclosures[receipt.event_id] = dict(receipt.disclosures)
        self._events.append(
            {
                "event_id": receipt.event_id,
                "type": receipt.type,
                "aggregate_id": aggregate_id,
                "position": receipt.position,
                "leaf": f"sha256:{receipt.leaf.hex()}",
                "recorded_at": receipt.recorded_at,
                "receipt": name,
            }
        )
        self._write()

    def fact(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep what a later reader of the files needs, such as the digests of a training."""
        self._facts[name] = dict(value)
        self._write()

    def file(self, name: str, data: bytes) -> Path:
        """Write one file of the run below the directory."""
        path = self._out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def _write(self) -> None:
        whole = self._facts | {"events": self._events, "disclosures": self._disclosures}
        canonical.encode(whole)  # Nothing goes in that an event could not hold.
        temporary = self._path.with_suffix(".new")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(whole, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
