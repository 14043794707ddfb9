# SPDX-License-Identifier: GPL-3.0-or-later
"""One good packet, made once per test run, and how tests look at it."""

from datetime import UTC, datetime, timedelta

from packet_maker import RECORD_KEY, SEALED, Log, pack, packet_files

from sealtrail.verify.disclosure import commit
from sealtrail.verify.packet import check_packet, read_packet

LOG = Log()
FILES = packet_files(LOG)
PACKET = pack(FILES)
TRUST = LOG.trust()
DISCLOSURES = commit(RECORD_KEY, SEALED)[1]


def check(files, trust=TRUST, now=None, backend="auto"):
    """The report on a packet, given as bytes or as files that are packed first.

    now: a minute from now, however long ago this file was read: a test may have just stamped.
    """
    data = files if isinstance(files, bytes) else pack(files)
    now = now or datetime.now(UTC) + timedelta(minutes=1)
    return check_packet(read_packet(data), trust=trust, now=now, backend=backend)


def failed(report, verdict="refuted"):
    """The checks that came to this verdict, by name."""
    return {finding.check for finding in report.findings if finding.verdict == verdict}


def without(*parts):
    """The files of the good packet but those with one of these parts in their names."""
    return {n: d for n, d in FILES.items() if not any(part in n for part in parts)}
