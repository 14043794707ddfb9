# SPDX-License-Identifier: GPL-3.0-or-later
"""Many lives of one ledger under fire, each from a seed, each predicted by an auditor.

Two seeds are the same in every run; a third is new each time, and its number is printed at the end
of the run. A failure names its seed and the command that does it again:

    python tests/simulation/run.py --seed 7 --steps 65
"""

import random

import pytest
from simulation import WEIGHTS, Failed, simulation

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

STEPS = 65


def run(postgres, authority, directory, seed):
    with simulation(postgres, authority, directory, seed) as one:
        one.run(STEPS)
        return one


@pytest.mark.parametrize("seed", [3, 8])
def test_the_ledger_is_what_the_auditor_predicted(postgres, authority, tmp_path, seed):
    """Every entry, MAC, head row, answer, receipt, anchor: by a second, simpler ledger."""
    done = run(postgres, authority, tmp_path, seed)

    assert done.auditor.size > 60
    assert len(done.receipts) > 80


@pytest.mark.once
def test_a_new_seed_each_run_finds_nothing_either(postgres, authority, tmp_path, record_property):
    """What nobody has thought of may turn up any day; its number is printed."""
    seed = random.SystemRandom().randrange(2**32)
    record_property("seed", f"simulation {seed}, {STEPS} steps")

    run(postgres, authority, tmp_path, seed)


@pytest.mark.once
def test_every_kind_of_step_works_by_itself(postgres, authority, tmp_path):
    """No step is left out because chance never chose it."""
    with simulation(postgres, authority, tmp_path, 1) as one:
        names = [name for name in WEIGHTS for _ in range(2)]
        one.choose = names.pop
        one.run(len(names))

        assert set(one.counts.values()) == {2}


def test_what_the_auditor_did_not_predict_names_its_seed(postgres, authority, tmp_path):
    """An administrator changes one MAC between two steps: seed, step and command are told."""
    with simulation(postgres, authority, tmp_path, 11) as one:
        look = one._look

        def tampered():
            one.world._do("ALTER TABLE {b}.entry DISABLE TRIGGER ALL")
            one.world._do("UPDATE {b}.entry SET mac = decode(repeat('00', 32), 'hex')")
            look()

        one._look = tampered
        with pytest.raises(Failed, match=r"(?s)seed 11, step .*--seed 11 --steps 4"):
            one.run(4)
