# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene of the attacks: one ledger with something of everything, repaired after each of them.

`caught(name)` does one attack of the corpus (evidence/attack) to it and returns who noticed; every
defence that the corpus names must be among them.
"""

from pathlib import Path

import pytest
from administrator import administrator, target_in
from attack_story import story
from house import attempt, house_in
from keepers import held, kms, kms_client, kms_keeper, module, pkcs11_keeper
from rotating import Rotating

from anchoring.night import Night
from evidence.attack.campaign import CORPUS, attempt_on

__all__ = ["held", "kms", "kms_client", "kms_keeper", "module", "pkcs11_keeper"]

SIZE = 270  # A full tile, and some.


@pytest.fixture(scope="session")
def scene(pattern, authority, tmp_path_factory):
    """The ledger: two stamped checkpoints, a full tile, every kind of a client's entry."""
    with house_in(pattern, tmp_path_factory.mktemp("scene")) as house:
        house.roots = list(authority.authority().roots)
        house.post(*story())
        night = Night(house.book, [authority.authority()])
        night.interim()
        house.post(*[attempt() for _ in range(SIZE - 8)])
        night.interim()
        with administrator(house) as admin:
            admin.save()
        yield house


@pytest.fixture
def spoiled(scene):
    """The scene as an attacker has it; whatever was done to it is undone afterwards."""
    notes = {path: path.read_bytes() for path in _notes(scene)}
    with target_in(scene) as target:
        yield target
        target.admin.restore()
    for path in _notes(scene):
        if path not in notes:
            path.unlink()
    for path, note in notes.items():
        path.write_bytes(note)


@pytest.fixture
def caught(spoiled):
    """Do an attack of the corpus to the scene; the set of those who noticed."""
    known = {one.name: one for one in CORPUS}

    def do(name):
        noticed = attempt_on(spoiled, known[name])
        assert known[name].missed_by(list(noticed)) == []
        return {*noticed, *(label.partition(":")[0] for label in noticed)}

    return do


@pytest.fixture
def rotating(house):
    """A house whose log key can be replaced."""
    return Rotating(house)


def _notes(house) -> list[Path]:
    return list((house.directory / "checkpoints").glob("*.checkpoint"))
