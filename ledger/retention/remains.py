# SPDX-License-Identifier: GPL-3.0-or-later
"""What the state of a stream needs of a body that is in the database no more.

A stream is folded from its entries. For most of them the type says all; where it does not, the few
members that count are kept beside the index when the body leaves, and stay. Nothing of this is
personal: it is a part of the clear body.
"""

from typing import Any, Final

from ledger.errors import EntryDamaged
from sealtrail.verify import canonical
from sealtrail.verify.errors import VerifyError

JSON = dict[str, Any]

#: Of a run's start its promise counts: TRAIN has to name the same (ledger.lifecycle).
_PROMISED: Final = (
    "type", "inputs", "input_asset_ids", "base_model", "output_model", "code_digest",
    "container_digest", "env_digest", "seed", "context",
)  # fmt: skip


def remains_of(type_: str, body: JSON) -> JSON | None:
    """Return the members that a later state needs; None where the type is enough."""
    if type_ == "GEN_ERROR" and body.get("timeout") is True:
        return {"timeout": True}
    if type_ == "TRAIN_STARTED":
        train = body["train"]
        return {"train": {name: train[name] for name in _PROMISED if name in train}}
    return None


def body_from(topic: str, remains: bytes | None) -> JSON:
    """Return a body that folds to the same state as the one that is gone.

    topic: the index column, such as `GEN/1`. Raises EntryDamaged for remains that are none.
    """
    if remains is None:
        return {"train": {"inputs": []}} if topic == "TRAIN_STARTED/1" else {}
    try:
        body = canonical.decode(remains)
    except VerifyError as error:
        raise EntryDamaged("what is kept of a body that is gone was changed") from error
    if not isinstance(body, dict):
        raise EntryDamaged("what is kept of a body that is gone was changed")
    return body
