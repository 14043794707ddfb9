# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/threat-model.md out of what the attack tests say of themselves.

    python tests/attacks/threat_model.py        after a change of tests/attacks

Each test there says in its docstring who tries what, what catches it and what does not; each file's
docstring introduces its adversary. A test compares the page with them, so that neither can lie.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "threat-model.md"

#: In the order of the page: the adversary, and how the names of their files begin.
ADVERSARIES = {
    "The database administrator": ("test_database_administrator",),
    "The operator with the signing key": (
        "test_operator_with_signing_key",
        "test_restore_operator",
    ),
    "The lying time-stamp authority": ("test_lying_tsa",),
    "The packet forger": ("test_packet_forger",),
    "The lying prover": ("test_lying_prover",),
    "The impatient pipeline": ("test_impatient_pipeline",),
    "The curious engineer": ("test_curious_engineer",),
    "The thief of a key": ("test_key_thief",),
    "The thief of sealed values": ("test_vault_thief",),
    "The remover of evidence": ("test_evidence_remover",),
    "The keeper of the backups": ("test_backup_keeper",),
    "The custodian of the records": ("test_custodian_of_records",),
    "The keeper of the archive": ("test_archive_keeper",),
    "The hostile uploader": ("test_hostile_uploader",),
    "The application behind the gateway": ("test_gateway_caller",),
}

PARTS = re.compile(
    r"Who: (?P<who>.+?\.)\n\s*Tries: (?P<tries>.+?\.)\n\s*Caught by: (?P<caught>.+?\.)"
    r"\n\s*Not caught: (?P<missed>.+?\.)\s*",
    re.DOTALL,
)

OPENING = """\
# Threat model

<!-- Made by `python tests/attacks/threat_model.py` out of tests/attacks; do not edit it. -->

Who might lie about what a generative model did, what they would try, what catches it, and what does
not. Every line below is a test that was run against a real ledger, and that fails when its defence
is taken away. What a liar gains who controls one part or another is told the other way round in
[SECURITY.md](../SECURITY.md); words are explained in the [glossary](glossary.md).
`sealtrail-server attack` tries most of these on a copy of your own ledger
([operations](operations.md#attack-a-copy-of-it)).

## What is to be protected

| asset | lies in | who must not be able to |
| --- | --- | --- |
| that an event happened as recorded | entries, tree, receipts | change, remove or invent one |
| that nothing recorded is missing | positions, outcomes, checkpoints | cut an end or the middle |
| when it was recorded, at the latest | time stamps over checkpoints | date it back |
| who answers for it | committed person, credential | put somebody else's name there |
| what was asked: prompts, names | the vault, under each person's own key | read or guess it |
| that all this can be checked without us | packet, verifier, trust file | be taken at his word |

## Where trust ends

* **Between pipeline and ledger**: a pipeline is believed about what it sends, never about what is
  already recorded. It appends, and reads nothing.
* **Between server and database**: the server logs in as a role that owns nothing. The database is
  not believed: each entry is hashed again when it is read, the head row carries a keyed tag.
* **Between database and keystore**: an administrator of the one has nothing of the other.
* **Between keystore and device**: a module or service uses keys and shows none; the directory
  beside it says which key is which, and is believed only with a MAC from inside.
* **Between one person and another**: each one's values lie under that one's own key, which can be
  destroyed alone. Between erased and alive lies a generation of keys that no longer exists.
* **Between ledger and checkpoint store**: other storage, other hands; it remembers the last word.
* **Between today and yesterday**: the chain key of a finished epoch no longer exists.
* **Between us and the time-stamp authority**: its reply is checked as a stranger's.
* **Between us and a packet's reader**: nothing in it is trusted that did not come from outside.

The operator who holds every key on this side of a line can write a new history. What speaks
against it lies on other sides: receipts, packets, time stamps, processes and stores elsewhere.
"""


@dataclass(frozen=True)
class Attack:
    """One test, as it describes itself."""

    test: str  #: `file::name`, below tests/attacks.
    title: str
    who: str
    tries: str
    caught: str
    missed: str


@dataclass(frozen=True)
class Adversary:
    """One adversary, introduced by their files, with everything they try."""

    name: str
    introductions: tuple[str, ...]
    attacks: tuple[Attack, ...]


def adversaries() -> list[Adversary]:
    """Every adversary with their attacks; raises ValueError for a test that lacks a part."""
    return [_adversary(name, prefixes) for name, prefixes in ADVERSARIES.items()]


def _adversary(name: str, prefixes: tuple[str, ...]) -> Adversary:
    introductions, attacks = [], []
    for path in [path for prefix in prefixes for path in sorted(HERE.glob(f"{prefix}*.py"))]:
        module = ast.parse(path.read_text("utf-8"))
        introductions.append(ast.get_docstring(module) or "")
        attacks += list(_attacks(path, module))
    return Adversary(name, tuple(introductions), tuple(attacks))


def _attacks(path: Path, module: ast.Module) -> Iterator[Attack]:
    for node in module.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        found = PARTS.fullmatch(ast.get_docstring(node) or "")
        if found is None:
            raise ValueError(f"{path.name}::{node.name} does not say all four parts")
        parts = {part: " ".join(text.split()) for part, text in found.groupdict().items()}
        title = node.name.removeprefix("test_").replace("_", " ").capitalize()
        yield Attack(test=f"{path.name}::{node.name}", title=title, **parts)


def page() -> str:
    """The whole page."""
    found = adversaries()
    parts = [OPENING, _summary(found), *(_chapter(one) for one in found)]
    return "\n".join(parts)


def _summary(found: list[Adversary]) -> str:
    rows = [
        "## At a glance",
        "",
        "| adversary | attacks | of these leave nothing open | are not caught at all |",
        "| --- | --- | --- | --- |",
    ]
    for one in found:
        closed = sum(attack.missed.startswith("nothing") for attack in one.attacks)
        open_ends = [attack for attack in one.attacks if attack.caught.startswith("NOT CAUGHT")]
        left = "; ".join(attack.title.lower() for attack in open_ends) or "none"
        anchor = re.sub(r"[^\w\- ]", "", one.name.lower()).replace(" ", "-")
        rows.append(f"| [{one.name}](#{anchor}) | {len(one.attacks)} | {closed} | {left} |")
    return "\n".join([*rows, ""])


def _chapter(one: Adversary) -> str:
    lines = [f"## {one.name}", ""]
    for introduction in one.introductions:
        lines += [*_wrapped(introduction), ""]
    lines += ["| attack | tries | caught by | not caught |", "| --- | --- | --- | --- |"]
    for attack in one.attacks:
        cells = (
            f"**{attack.title}** ([test](../tests/attacks/{attack.test.partition('::')[0]}))",
            f"{_capital(attack.who)} {_capital(attack.tries)}",
            _capital(attack.caught),
            _capital(attack.missed),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _wrapped(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        yield from textwrap.wrap(" ".join(paragraph.split()), width=100)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def main() -> None:
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
