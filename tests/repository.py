# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of this repository, as tests about the house read them."""

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[1]

_SKIPPED = {
    ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".cache",
    "__pycache__", "out", "dist", "build",
}  # fmt: skip
_TEXT = {".py", ".md", ".sql", ".toml", ".yaml", ".yml", ".json", ".txt", ".jsonl", ""}


def walk() -> Iterator[Path]:
    """Every file of the repository that a person wrote and reads."""
    for root, folders, names in os.walk(HOUSE):
        folders[:] = sorted(
            f for f in folders if f not in _SKIPPED and not f.endswith((".egg-info",))
            and not f.startswith(".venv")
        )  # fmt: skip
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix in _TEXT and name != "LICENSE" and path.is_file():
                yield path


def short(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


TEXTS = list(walk())
MODULES = [
    path for path in TEXTS if path.suffix == ".py" or short(path) == "scripts/build_verifier"
]
SOURCES = [
    path
    for path in TEXTS
    if path in MODULES or path.suffix in {".sql", ".toml", ".yaml", ".yml", ""}
    if path.name != ".gitignore"
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names that a module imports, `from a import b` as `a.b`, wherever in the file."""
    nodes = tree(path).body if top_level_only else ast.walk(tree(path))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{short(path)}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
