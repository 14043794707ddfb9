# SPDX-License-Identifier: GPL-3.0-or-later
"""The threat model is what the attack tests say, and they cover what the command tries."""

import re

import threat_model

from evidence.attack.campaign import CORPUS


def test_the_page_is_current():
    """`python tests/attacks/threat_model.py` was run after the last change."""
    assert threat_model.PAGE.read_text("utf-8") == threat_model.page()


def test_each_file_belongs_to_one_adversary():
    """A file of nobody would be left out of the page without a word."""
    ours = {"test_threat_model.py", "test_attack_command.py"}
    files = {path.name for path in threat_model.HERE.glob("test_*.py")} - ours

    owners = {
        name: [p for p in threat_model.ADVERSARIES.values() if name.startswith(p)] for name in files
    }

    assert {name for name, found in owners.items() if len(found) != 1} == set()


def test_each_attack_says_what_is_not_caught():
    """All four parts, of every test; no adversary without introduction or attacks."""
    for one in threat_model.adversaries():
        assert all(one.introductions)
        assert len(one.attacks) >= 8, one.name
        assert all(len(attack.missed) > 10 for attack in one.attacks)


def test_each_attack_of_the_command_has_a_test_of_its_own():
    """What the command says of a copy is held against who must notice, attack by attack."""
    told = "".join(path.read_text("utf-8") for path in threat_model.HERE.glob("test_*.py"))

    missing = [one.name for one in CORPUS if not re.search(rf'"{one.name}"', told)]

    assert missing == []
    assert len({one.name for one in CORPUS}) == len(CORPUS)
