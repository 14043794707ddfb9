# SPDX-License-Identifier: GPL-3.0-or-later
"""A vault of its own for each test, in the run's database."""

import pytest


@pytest.fixture(scope="module")
def one_house(pattern, tmp_path_factory):
    """One house for all tests of a file that do not care what others did to keys and log."""
    from house import house_in

    with house_in(pattern, tmp_path_factory.mktemp("vault")) as made:
        yield made


@pytest.fixture
def emptied(one_house):
    """That house with an empty vault; its generation of keys is where the last test left it."""
    with one_house.owner() as owner:
        owner.execute("SET session_replication_role = replica")  # No trigger is in the way.
        for table in ("subject", "subject_index", "sealed", "blind"):
            owner.execute(f"TRUNCATE {one_house.schema}.{table}")
        owner.execute(f"UPDATE {one_house.schema}.vault_state SET serial = serial + 1")
    return one_house


@pytest.fixture
def sealer(house):
    """The vault of a fresh Book, and a writer of nothing else."""
    from sealing import Sealer

    made = Sealer(house)
    yield made
    made.close()
