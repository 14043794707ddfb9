# SPDX-License-Identifier: GPL-3.0-or-later
"""A served tenant for each file, and a database of its own for what looks at every tenant."""

import psycopg
import pytest
from house import house_in
from minting import root
from moody_authority import Moody
from served_house import serving
from stamp_server import http

from anchoring.timestamp import Authority
from ledger import clock


@pytest.fixture(scope="module")
def service(pattern, tmp_path_factory):
    """The API of one tenant, which each test leaves as sound as it was."""
    with house_in(pattern, tmp_path_factory.mktemp("service")) as house, serving(house) as made:
        yield made


@pytest.fixture
def own(pattern, tmp_path):
    """The API of one tenant, for one test."""
    with house_in(pattern, tmp_path) as house, serving(house) as made:
        yield made


class OwnDatabase:
    """A database without other tests' tenants, in the session's PostgreSQL."""

    def __init__(self, postgres, name):
        self._postgres, self.name = postgres, name

    def url(self, user="postgres"):
        return self._postgres.url(user=user, dbname=self.name)


@pytest.fixture
def own_database(postgres):
    name = f"faults_{clock.random_bytes(4).hex()}"
    with psycopg.connect(postgres.url(), autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}")
        yield OwnDatabase(postgres, name)
        owner.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def moody():
    """An authority that behaves as it is told."""
    made = Moody()

    def respond(handler, query):
        made.respond(handler, query)  # Looked up each time: a test may put itself in between.

    with http(respond) as url:
        made.authority = Authority(name="moody", url=url, roots=(root().certificate,))
        yield made
