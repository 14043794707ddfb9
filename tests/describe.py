# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what the code says about itself: docs/openapi.json, problems, the keys of search.

    python tests/describe.py        after a change of endpoints or errors

The tests of the documents compare both with what is there (tests/test_docs.py).
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPENAPI = ROOT / "docs" / "openapi.json"
API = ROOT / "docs" / "api.md"
SEARCH = ROOT / "docs" / "search.md"
_TABLE = re.compile(r"(?<=<!-- problems -->\n).*?(?=<!-- end of problems -->)", re.DOTALL)
_FAMILIES = ("ledger", "anchoring", "evidence", "api", "scripts")


def errors() -> list[type]:
    """Every error of the house that has a name of its own, by that name."""
    from ledger.errors import LedgerError

    for family in _FAMILIES:
        package = importlib.import_module(family)
        for module in pkgutil.walk_packages(package.__path__, f"{family}."):
            importlib.import_module(module.name)
    named = {one for one in _below(LedgerError) if "problem" in vars(one)}
    return sorted(named, key=lambda one: one.problem)


def _below(error: type) -> Iterator[type]:
    for one in error.__subclasses__():
        yield one
        yield from _below(one)


def problems() -> str:
    """The table of problems, as it stands in docs/api.md."""
    rows = ["| code | status | what happened |", "| --- | --- | --- |"]
    for error in errors():
        sentence = " ".join((error.__doc__ or "").split("\n\n")[0].split())
        rows.append(f"| `{error.problem}` | {error.status} | {sentence} |")
    return "\n" + "\n".join(rows) + "\n\n"


def openapi() -> str:
    """The OpenAPI document, as it stands in docs/openapi.json."""
    from api.app import openapi_text

    return openapi_text()


def problems_in(page: str) -> str:
    """The part of docs/api.md that `problems` made."""
    found = _TABLE.search(page)
    return "" if found is None else found.group()


def search_page(page: str) -> str:
    """The page on search, with its tables of keys and flags as the code has them."""
    from ledger.readmodel import keys, registers

    for name, table in (("keys", keys.describe()), ("flags", registers.describe())):
        made = rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)"
        page = re.sub(made, lambda _, table=table: f"\n{table}\n", page, flags=re.DOTALL)
    return page


def main() -> None:
    SEARCH.write_text(search_page(SEARCH.read_text("utf-8")), "utf-8")
    OPENAPI.write_text(openapi(), "utf-8")
    page = API.read_text("utf-8")
    API.write_text(_TABLE.sub(lambda _: problems(), page), "utf-8")


if __name__ == "__main__":
    main()
