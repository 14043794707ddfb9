# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a client waits for a ledger that is busy, before it asks again."""

import pytest
from small_ledger import TOKEN

from sealtrail import AuditUnavailable
from sealtrail.wire import (
    LONGEST_RETRY_AFTER_S,
    LONGEST_WAIT_S,
    Answer,
    Wire,
    asked_to_wait,
)

pytestmark = pytest.mark.once


def test_retry_after_is_honoured(ledger, url):
    """The ledger says how long; the client waits that long and not its own guess."""
    waits = []
    ledger.mishaps = ["503 after 7", "503", "503 after x"]
    wire = Wire(url, TOKEN, timeout_s=5, attempts=3, pause=waits.append)

    with pytest.raises(AuditUnavailable):
        wire.send("POST", "/v1/events", answer_max=1000, content=b"{}")

    wire.close()
    assert waits[0] == 7
    assert 0.1 <= waits[1] <= 0.2


def test_a_wait_longer_than_a_minute_is_the_callers_to_decide(ledger, url):
    """A pipeline must not hang for an hour because a header says so."""
    waits = []
    ledger.mishaps = ["503 after 3600"]
    wire = Wire(url, TOKEN, timeout_s=5, attempts=3, pause=waits.append)

    with pytest.raises(AuditUnavailable) as unavailable:
        wire.send("POST", "/v1/events", answer_max=1000, content=b"{}")

    wire.close()
    assert waits == []
    assert unavailable.value.retry_after_s == 3600


def asked(retry_after, **fields):
    headers = {"retry-after": retry_after} | fields
    return asked_to_wait(Answer(status=503, headers=headers, body=b""))


def test_a_date_to_come_back_at_is_honoured():
    """Retry-After may be a date (RFC 9110 §10.2.3): counted from the answer's own, if it has one.

    A clock of ours that is years off changes nothing then.
    """
    now = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert asked("Sun, 06 Nov 1994 08:49:44 GMT", date=now) == 7
    assert asked("Sun, 06 Nov 1994 08:00:00 GMT", date=now) == 0
    assert asked("Sun, 06 Nov 2094 08:00:00 GMT") > LONGEST_RETRY_AFTER_S


def test_a_number_of_seconds_is_long_however_many_digits_it_has():
    """It is not taken for none, after which the ledger would be asked again at once."""
    assert asked("9" * 5000) > LONGEST_RETRY_AFTER_S


@pytest.mark.parametrize(
    "text",
    ["", " GMT", "GMT", "soon", "-1", "1.5", "+1", "\u0661", "Sun, 99 Nov 1994 08:49:37 GMT"],
)
def test_what_is_no_time_to_wait_is_none(text):
    """Then the client waits as long as it thinks right."""
    assert asked(text) is None


def test_waits_grow_and_stay_bounded(ledger, url):
    """Twice as long each time, never above the limit."""
    waits = []
    ledger.mishaps = ["503"] * 12
    wire = Wire(url, TOKEN, timeout_s=5, attempts=12, pause=waits.append)

    with pytest.raises(AuditUnavailable):
        wire.send("POST", "/v1/events", answer_max=1000, content=b"{}")

    wire.close()
    assert len(waits) == 11
    assert waits[4] > waits[0]
    assert max(waits) <= LONGEST_WAIT_S
