# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/fields.md: nothing that the sources name is missing, and nothing that it says is invented.

The sources lie beside the project; where they are not here, only what the page says is checked.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import cap_checker
import pytest
import schema_page
from house import attempt, gen

from evidence.fields.homes import ENTRY, PACK, TESTS, HomeUnknownError, home_of
from evidence.fields.page import describe
from evidence.fields.table import SOURCES, rows

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / ".." / "shared"
SCHEMA_PAGE = SHARED / "reference" / "record-schema.md"
CHECKLIST = SHARED / "seeds" / "checklist-ai-image-audit-trails.txt"
HOWTO = SHARED / "seeds" / "audit-trail-for-generative-ai-outputs.txt"
CAP = SHARED / "vectors" / "cap-spec" / "schemas"
ALL = [row for source in SOURCES for row in rows(source)]
NOT_HERE = "the sources (../shared) are not here"


def listed(source, section=None):
    return {(row.section, row.field) for row in rows(source) if section in (None, row.section)}


# Nothing is missing


@pytest.mark.skipif(not SCHEMA_PAGE.is_file(), reason=NOT_HERE)
def test_each_row_of_the_schema_page_is_here_and_nothing_else_is():
    """Section by section, every name that a row spells out."""
    named = set(schema_page.fields(SCHEMA_PAGE.read_text("utf-8")))

    assert len(named) > 400
    assert named - listed("record") == set()
    assert listed("record") - named == set()


def test_the_page_is_read_as_people_read_it():
    """Braces, a dot that goes on where the last name was, slashes, a map."""
    text = (
        "### 1.2 Common\n| `a.{b,c[]}`, `.d/.e` | x |\n| `f`, `g.h` (why), `.i{l:num}` | y |\n"
        "**Dataset** (X): `dataset.id,version`, `n` all\n### 1.4 "
    )

    assert list(schema_page.fields(text)) == [
        ("Envelope", "a.b"),
        ("Envelope", "a.c[]"),
        ("Envelope", "a.d"),
        ("Envelope", "a.e"),
        ("Envelope", "f"),
        ("Envelope", "g.h"),
        ("Envelope", "g.i"),
        ("Dataset", "dataset.id"),
        ("Dataset", "dataset.version"),
        ("Dataset", "dataset.n"),
    ]


def members(schema, path=""):
    """Every member that a JSON Schema names, groups opened."""
    for name, inner in schema.get("properties", {}).items():
        if "properties" in inner:
            yield from members(inner, f"{path}{name}.")
        else:
            yield path + name


@pytest.mark.skipif(not CAP.is_dir(), reason=NOT_HERE)
@pytest.mark.parametrize(
    ("path", "section"),
    [("cap/core-event", "Every event"), *((v, k) for k, v in cap_checker.SCHEMAS.items())],
)
def test_each_member_of_caps_schemas_is_here(path, section):
    """Those that every event has stand in sections of their own."""
    schema = json.loads((CAP / f"{path}.schema.json").read_text("utf-8"))
    common = listed("cap", "Every event") | listed("cap", "Context") | listed("cap", section)

    missing = set(members(schema)) - {field for _, field in common}

    assert missing == set()


def pointers(value, path=""):
    """Every JSON pointer of a document that leads to a plain value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from pointers(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from pointers(inner, f"{path}/{at}")
    else:
        yield path


@pytest.mark.skipif(not HOWTO.is_file(), reason=NOT_HERE)
def test_each_pointer_of_the_sample_record_is_here():
    text = HOWTO.read_text("utf-8")
    sample = json.loads(re.search(r"^\{$.*?^\}$", text, re.MULTILINE | re.DOTALL)[0])

    assert {field for _, field in listed("howto", "Sample record")} == set(pointers(sample))


@pytest.mark.skipif(not HOWTO.is_file(), reason=NOT_HERE)
def test_each_of_the_ten_core_elements_has_its_section():
    """The article's own numbers and titles."""
    text = HOWTO.read_text("utf-8").partition("Core elements")[2].partition("Designing your")[0]
    titles = re.findall(r"^ *([0-9]+)\. ([^:]+):", text, re.MULTILINE)

    sections = {row.section for row in rows("howto")}

    assert len(titles) == 10
    for number, title in titles:
        assert any(one.startswith(f"{number} {title.split()[0]}") for one in sections), title


@pytest.mark.skipif(not CHECKLIST.is_file(), reason=NOT_HERE)
def test_each_cell_of_the_checklists_tables_is_here():
    """Its tables of fields: governance roles, core metadata, pay as you go."""
    text = CHECKLIST.read_text("utf-8")
    here = " · ".join(row.field.lower() for row in rows("checklist"))
    cells = []
    for title, column in (
        ("Governance Role", 2),
        ("Field Group | Spec", 1),
        ("Field Group | D", 1),
    ):
        table = text[text.index(f"| {title}") :].split("\n\n")[0].splitlines()[2:]
        for line in table:
            if not line.startswith("|"):
                break
            cells += re.split(r", (?![^(]*\))", line.strip("|").split("|")[column].strip())

    lost = [one for one in cells if one.lower() not in here]

    assert len(cells) > 20
    assert [one for one in lost if one not in ALSO] == []


#: Words of the tables that the list says otherwise, and how.
ALSO = {
    "version": "Model version",
    "parameters": "Model parameters",
    "Prompt tokens": "Prompt tokens",
}


# Nothing is invented


@pytest.mark.parametrize("source", SOURCES)
def test_every_field_has_a_home_or_a_written_reason(source):
    """A home is one that the catalogue knows."""
    found = list(rows(source))

    assert found
    for row in found:
        assert row.homes() or len(row.note) > 20, row
        assert len(set(row.pointers)) == len(row.pointers), row


@pytest.mark.parametrize(
    "pointer",
    ["GEN_ATTEMPT prompt.usr", "GEN_ATEMPT prompt.user", "* trace.trace", "entry nothing",
     "receipt proofs", "column entry.macs", "pack Hash", "GEN outputs.sha256x", "", "GEN",
     "GEN outputs[*].sha256.x", "GEN attempt[*]"],
)  # fmt: skip
def test_a_pointer_that_leads_nowhere_breaks_the_page(pointer):
    with pytest.raises(HomeUnknownError):
        home_of(pointer)


def test_how_a_value_is_kept_is_what_the_classes_say():
    """One of each kind."""
    kept = {
        pointer: home_of(pointer).placement
        for pointer in (
            "GEN_ATTEMPT params.seed", "GEN_ATTEMPT prompt.user", "GEN_ATTEMPT prompt.system",
            "INGEST asset.sha256", "INGEST asset.preview", "MODEL_REGISTERED manifest.digest",
            "* net.ip", "* trace.trace_id", "* actor.subject_id", "receipt path",
        )
    }  # fmt: skip

    assert list(kept.values()) == [
        "clear",
        "committed, sealed for the user",
        "committed, sealed for the tenant",
        "clear or committed, sealed for the depicted",
        "committed, sealed for the depicted, artifact",
        "clear, artifact",
        "committed, sealed for the user",
        "clear",
        "committed, sealed for the user",
        "outside the leaf",
    ]


def test_every_test_that_is_named_is_there():
    """Collected, as pytest would run it; parameters included."""
    named = {home.test for row in ALL for home in row.homes()}
    files = sorted({name.partition("::")[0] for name in named})

    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    ).stdout

    there = {line for line in told.splitlines() if "::" in line}
    assert len(named) > 100
    assert {name.partition("::")[0] for name in TESTS.values()} <= set(files)
    assert named - there == set()


def test_the_page_is_current():
    """`python -m evidence.fields > docs/fields.md` was run after the last change."""
    assert (ROOT / "docs" / "fields.md").read_text("utf-8") == describe()


# What the ledger adds


@pytest.fixture(scope="module")
def posted(pattern, tmp_path_factory):
    """One recorded entry with its receipt, and a pack with it."""
    from cap_story import these_days
    from house import house_in

    from anchoring.receipt import receipt_of
    from evidence.cap_pack import build_cap_pack

    with house_in(pattern, tmp_path_factory.mktemp("fields")) as house:
        trust = house.directory / "trust.json"
        trust.write_bytes(house.trust().print())
        one = attempt()
        prepared = house.prepare(one)
        (outcome,) = house.book.record([prepared]).result(timeout=30)
        house.post(gen(one["aggregate_id"]))
        receipt = receipt_of(house.book, outcome, prepared.disclosures)
        pack = build_cap_pack(house.book, these_days(), trust_file=trust)
        entry = house.book.reader.find(one["event_id"]).entry.value
        yield entry, receipt.json(), cap_checker.files_of(pack.data)


def test_a_recorded_entry_has_what_the_ledger_adds(posted):
    """Each name of the list leads to a value in a real entry."""
    entry, _, _ = posted

    for name in ENTRY:
        value = entry
        for step in name.split("."):
            value = value[step]
        assert value


def test_a_receipt_has_what_the_page_says(posted):
    """Whoever posts holds the leaf, the path and the signed checkpoint."""
    _, receipt, _ = posted

    named = {one.partition(" ")[2] for row in ALL for one in row.pointers if "receipt " in one}

    assert named - receipt.keys() == {
        "body"
    }  # Instead of `entry`, where the bytes are not at hand.


def test_a_pack_has_what_the_page_says(posted):
    """In its events, or in its manifest."""
    _, _, files = posted
    event = cap_checker.events_of(files)[0]

    assert set(PACK) <= event.keys() | json.loads(files["manifest.json"]).keys()
