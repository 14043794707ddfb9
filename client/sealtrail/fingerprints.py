# SPDX-License-Identifier: Apache-2.0
"""Which model a program holds: digests of the files it was loaded from, or of its weights.

    component ── its files are known ──► path, size and digest of each
              ── it has weights ───────► digest over name, kind, shape and bytes of each tensor
              ── neither ──────────────► digest of its configuration

A file is hashed once in a process, and again only if its time or size has changed. What a program
did to weights after it loaded them shows in the second way only.
"""

import io
import math
import os
import platform
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from sealtrail.content import content_of, digest_text
from sealtrail.verify import canonical

JSON = dict[str, Any]

#: A model's folder has no more files than this; what has is something else.
FILES_MAX: Final = 10_000

#: Libraries that decide what comes out; those that are there are named with their versions.
LIBRARIES: Final = (
    "torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "datasets", "numpy",
    "pillow", "xformers",
)  # fmt: skip

#: Folder of one commit in the cache of a hub.
_SNAPSHOT: Final = re.compile(r"models--([^/\\]+)[/\\]snapshots[/\\]([0-9a-f]{40})(?:[/\\]|$)")

_lock: Final = threading.Lock()
_known: Final[dict[tuple[str, int, int], str]] = {}


def file_digest(path: Path) -> str:
    """Return a file's digest, computed once for each (path, time, size)."""
    real = path.resolve()
    stat = real.stat()
    key = (str(real), stat.st_mtime_ns, stat.st_size)
    with _lock:
        found = _known.get(key)
    if found is None:
        found = content_of(real).sha256
        with _lock:
            _known[key] = found
    return found


def files_of(path: Path) -> list[JSON]:
    """Return path, size and digest of a file, or of all files in a folder. Raises OSError."""
    if path.is_file():
        return [_named(path, path.name)]
    found = sorted(one for one in path.rglob("*") if one.is_file() and one.name[0] != ".")
    if len(found) > FILES_MAX:
        raise ValueError(f"a model has at most {FILES_MAX} files")
    return [_named(one, one.relative_to(path).as_posix()) for one in found]


def commit_of(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Return name and commit of a model in a hub's cache, by where it lies."""
    found = _SNAPSHOT.search(str(path))
    return None if found is None else (found[1].replace("--", "/"), found[2])


def tensors_digest(tensors: Iterable[tuple[str, Any]]) -> str:
    """Return one digest over pairs of name and tensor, in the order of their names.

    Not kept: torch does not count changes made through `.data`, so nobody can tell when it is old.
    """
    running = sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        running.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        running.update(tensor_bytes(tensor))
    return f"sha256:{running.hexdigest()}"


def tensor_bytes(tensor: Any) -> bytes:
    """Return the bytes of a tensor as they lie in memory, row by row."""
    plain = tensor.detach().cpu().contiguous()
    data: bytes = plain.reshape(-1).view(sys.modules["torch"].uint8).numpy().tobytes()
    return data


def npy_bytes(numbers: Any) -> bytes:
    """Return an array or tensor as `numpy.save` writes it; bfloat16, which it lacks, as float32."""
    numpy: Any = sys.modules["numpy"]
    if hasattr(numbers, "detach"):
        plain_ = numbers.detach().cpu()
        numbers = (plain_.float() if "bfloat16" in str(plain_.dtype) else plain_).numpy()
    out = io.BytesIO()
    numpy.save(out, numpy.ascontiguousarray(numbers), allow_pickle=False)
    return out.getvalue()


@cache
def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide what comes out."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def plain_digest(members: Any) -> str:
    """Return the digest of the canonical JSON (docs/formats.md) of members."""
    return digest_text(canonical.encode(members))


def plain(value: Any, *, depth: int = 8) -> Any:
    """Return a value as JSON without fractions: numbers as text where the ledger has them so."""
    if isinstance(value, Enum):
        return plain(value.value, depth=depth - 1) if depth else value.name
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if depth and isinstance(value, Mapping):
        return {str(name): plain(one, depth=depth - 1) for name, one in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one, depth=depth - 1) for one in value]
    # Where things lie is this machine's own; of what else there may be, its kind is enough.
    return getattr(value, "__qualname__", type(value).__qualname__)


def _number(value: float) -> int | str:
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else str(int(value))
    return format(Decimal(str(value)), "f") if math.isfinite(value) else str(value)


def loaded_from(thing: Any) -> Path | None:
    """Return where a component was loaded from, if that is on this machine."""
    config = getattr(thing, "config", None)
    for holder in (config, thing):
        told = _member(holder, "_name_or_path") or _member(holder, "name_or_path")
        if isinstance(told, str) and told and Path(told).exists():
            return Path(told)
    return None


def component(thing: Any) -> JSON:
    """Return what one part of a model is made of. Raises OSError."""
    named: JSON = {"class": type(thing).__name__}
    path = loaded_from(thing)
    if path is not None:
        return named | {"files": files_of(path)}
    if hasattr(thing, "state_dict") and hasattr(thing, "parameters"):
        return named | {"weights": tensors_digest(tensors_of(thing))}
    return named | {"config": plain_digest(plain(_config(thing)))}


def tensors_of(thing: Any, part: str = "") -> Iterator[tuple[str, Any]]:
    """Yield parameters and buffers whose names contain `part`."""
    for listed in (thing.named_parameters(), thing.named_buffers()):
        yield from ((name, one) for name, one in listed if part in name)


def _config(thing: Any) -> Any:
    config = getattr(thing, "config", None)
    if config is None:
        return {}
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _member(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name)
    return None if holder is None else getattr(holder, name, None)


def _named(path: Path, name: str) -> JSON:
    return {"path": name, "sha256": file_digest(path), "size": str(path.stat().st_size)}
