# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that lists what a record must be able to hold, read row by row.

It lies beside the project, not in it. `fields` yields (section, field) for every name that its
tables and their paragraphs spell out; `a.{b,c}` is two, `.d` after `a.b` is `a.d`.
"""

import re

_TICKED = re.compile(r"`([^`]+)`")
#: Slashes in here part no names.
_WHOLE = re.compile(r"[{ ]")
_MAP = re.compile(r"\w+:\w+")
_HEADS = {"field", "type", "aggregate (stream)"}
#: Paragraphs that name fields as the tables do, and whose bare names are of this group.
_PARAGRAPHS = {
    "**Dataset**": ("Dataset", "dataset."),
    "**Policy ": ("Register", ""),
    "**Consent**": ("Consent", ""),
    "GEN_DENY:": ("Outcomes", ""),
    "HUMAN_REVIEW ": ("Review", ""),
}
_SECTIONS = {
    "### 1.2": "Envelope",
    "**Asset ": "Asset",
    "**TrainingRun ": "Training",
    "**Model**": "Model",
    "GEN_ATTEMPT": "Attempt",
    "MODERATION ": "Moderation",
    "GEN (": "Output",
    "**Export ": "Export",
    "**Governance ": "Governance",
}
#: What is written like a field and is none: a format, a value, another format's name for it.
_NO_FIELD = re.compile(r"urn:|InputAssetIDs|\{dataset_id|disposition=|model_fingerprint|…")


def fields(text):
    """Yield (section, field) in the order of the page; a name may come twice."""
    page = text[text.index("### 1.2") : text.index("### 1.4")]
    section = ""
    for line in page.splitlines():
        section = next((name for head, name in _SECTIONS.items() if line.startswith(head)), section)
        for head, (name, prefix) in _PARAGRAPHS.items():
            if line.startswith(head):
                section = name
                yield from ((name, _within(one, prefix)) for one in _names(line))
        if line.startswith("|") and not line.startswith("| ---"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells[0] in _HEADS:
                continue
            if section == "Governance":
                types = cells[0].partition(" (")[0]
                yield from ((types, one) for one in _names(cells[1]))
            else:
                yield from ((section, one) for one in _names(cells[0]))


def _within(name, prefix):
    return name if "." in name or not prefix else prefix + name


def _names(cell):
    parent = ""
    for token in _TICKED.findall(cell):
        if _NO_FIELD.search(token):
            continue
        for piece in _split(token):
            for name in [piece] if _WHOLE.search(piece) else re.split(r"[/+]", piece):
                here = parent + name if name.startswith(".") else name
                if "." in name and not name.startswith("."):
                    parent = re.split(r"\s*\.?\s*\{", name)[0].rpartition(".")[0]
                    parent = parent or re.split(r"[\s.{\[]", name)[0]
                elif len(_split(token)) > 1 and "." in _split(token)[0] and "." not in name:
                    here = f"{_split(token)[0].rpartition('.')[0]}.{name}"
                yield from _expanded(here)


def _expanded(name):
    group, brace, inner = name.strip().partition("{")
    if not brace:
        yield re.sub(r"\[\[.*|\s.*|\(.*?\)|[=:+].*", "", name.strip())
        return
    group, inner = group.rstrip(" ."), inner.rpartition("}")[0]
    if not inner or _MAP.fullmatch(inner):
        yield group
        return
    for one in _split(inner):
        for deeper in _expanded(one):
            yield f"{group}.{deeper}"


def _split(text):
    """Split at commas that are in no brackets."""
    found, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1, "(": 1, ")": -1, "[": 1, "]": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [one.strip() for one in found if one.strip()]
