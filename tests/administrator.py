# SPDX-License-Identifier: GPL-3.0-or-later
"""A database administrator with a free hand in one house: no trigger, no permission in the way."""

from collections.abc import Iterator
from contextlib import contextmanager

from house import House

from evidence.attack.administrator import TABLES, Administrator


@contextmanager
def administrator(house: House) -> Iterator[Administrator]:
    """Log in as the administrator of this house's database; {b} is the main Book's schema."""
    with house.owner() as connection:
        yield Administrator(connection, house.schema)


__all__ = ["TABLES", "Administrator", "administrator"]
