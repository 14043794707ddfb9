# SPDX-License-Identifier: GPL-3.0-or-later
"""The projections that there are. A new one is one line here, and a migration for its tables."""

from typing import Final

from ledger.desk.consents import ConsentProjection
from ledger.desk.reviews import ReviewProjection
from ledger.desk.takedowns import TakedownProjection
from ledger.lineage.projection import LineageProjection
from ledger.readmodel.projection import Projection
from ledger.readmodel.searching import Searching
from ledger.similar.index import SimilarProjection
from ledger.sources.projection import SourcesProjection

PROJECTIONS: Final[tuple[Projection, ...]] = (
    Searching(),
    LineageProjection(),
    SimilarProjection(),
    ReviewProjection(),
    TakedownProjection(),
    ConsentProjection(),
    SourcesProjection(),
)
