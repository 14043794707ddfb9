# SPDX-License-Identifier: GPL-3.0-or-later
"""A new log key: nothing that was signed before is worth less, and nobody waits."""

import threading
from contextlib import suppress

import pytest
from house import attempt
from rotating import believed, signed_by

from anchoring.checkpoint import verifier_keys
from anchoring.fsck import Fsck
from anchoring.night import Night
from anchoring.rotation import NothingToEnd, OverlapRuns, RotationOpen
from evidence.packet import PacketRequest, build_packet
from ledger import clock
from ledger.errors import Unavailable
from ledger.keys import log_key
from sealtrail.verify.errors import Refuted
from sealtrail.verify.packet import check_packet, read_packet
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once


def test_during_the_overlap_both_keys_sign_and_either_is_enough(rotating):
    """Who pinned the old key still verifies, and so does who has only the new trust file."""
    old_trust = rotating.trust()
    rotated = rotating.begin()
    receipt = rotating.receipt(attempt())

    assert signed_by(receipt.proof.checkpoint, list(verifier_keys(
        rotating.house.keys, rotating.house.origin))) == [True, True]  # fmt: skip
    assert believed(receipt, old_trust) == believed(receipt, rotating.trust())
    assert believed(receipt, rotating.trust()).size > rotated.statement.size


def test_what_was_signed_before_verifies_after_the_old_key_is_destroyed(rotating):
    """Receipts keep; new ones need the new key, and the old trust file no longer knows them."""
    old_trust = rotating.trust()
    before = rotating.receipt(attempt())
    rotating.begin()
    during = rotating.receipt(attempt())

    assert rotating.rotation().end() == [log_key(rotating.house.origin)]
    after = rotating.receipt(attempt())

    for receipt in (before, during, after):
        believed(receipt, rotating.trust())
    with pytest.raises(Refuted):
        believed(after, old_trust)
    assert not Fsck(rotating.house.book).run().damage


def test_packets_from_before_during_and_after_verify_with_the_new_trust_file(rotating, authority):
    """The stamped checkpoint bears the old signature, both, or the new one alone."""
    house = rotating.house
    house.roots = list(authority.authority().roots)
    rotating.trust()
    first = _stamped(house, authority)
    old_packet = _packet(rotating, first)
    rotating.begin()
    second = _stamped(house, authority)  # Under both signatures.
    rotating.rotation().end()
    third = _stamped(house, authority)

    assert not Fsck(house.book).run().damage
    packets = [_packet(rotating, one) for one in (first, second, third)]
    for packet in (old_packet, *packets):
        report = check_packet(read_packet(packet), trust=rotating.trust(), now=clock.now())
        assert report.verdict == "verified", report


def test_processes_that_run_follow_without_being_told(rotating):
    """Another process, which has signed with the old key, uses both, and then the new one only."""
    house = rotating.house
    other = house.second_process()
    rotating.receipt(attempt(), by=other)
    rotating.begin()
    keys = verifier_keys(house.keys, house.origin)

    during = rotating.receipt(attempt(), by=other)
    rotating.rotation().end()
    after = rotating.receipt(attempt(), by=other)

    assert signed_by(during.proof.checkpoint, keys) == [True, True]
    assert signed_by(after.proof.checkpoint, keys) == [False, True]


def test_a_rotation_under_load_delays_nobody_and_every_receipt_verifies(rotating):
    """Two processes record while the key is made, recorded, published and the old one destroyed."""
    house, receipts, failures = rotating.house, [], []
    stop = threading.Event()

    def work(shelf):
        while not stop.wait(0.01):  # Two processes that never pause keep each other waiting.
            request = attempt()
            try:
                receipts.append(_sent(rotating, request, shelf))
            except Exception as error:  # noqa: BLE001 - told below
                failures.append(error)

    workers = [
        threading.Thread(target=work, args=(shelf,))
        for shelf in (house.shelf, house.second_process())
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in range(2):
            rotating.begin()
            rotating.rotation().end()
    finally:
        stop.set()
        for worker in workers:
            worker.join()

    assert failures == []
    assert len(receipts) > 2
    for receipt in receipts:
        believed(receipt, rotating.trust())
    assert not Fsck(house.book).run().damage


@pytest.mark.parametrize("step", ["made", "recorded", "published"])
def test_a_rotation_that_was_killed_goes_on_when_it_is_started_again(rotating, step):
    """After each durable step: one statement, one new key, and everything verifies."""
    house = rotating.house

    class KilledError(Exception):
        """The process ends here."""

    def dies(*_):
        raise KilledError

    if step == "made":
        house.keys.make(log_key(house.origin, 2), "ed25519")
        half_way = rotating.receipt(attempt())
        believed(half_way, rotating.trust())  # Two signatures, of which the world knows one.
    elif step == "recorded":
        with pytest.raises(KilledError):
            rotating.rotation(publish=dies).begin(clock.DAY_MS)
    else:
        rotating.begin()

    if step == "made":
        rotating.begin()
    else:
        with pytest.raises(RotationOpen):
            rotating.begin()

    (rotated,) = rotating.rotation().recorded()
    new = rotated.statement.new
    assert new in rotating.trust().origins[house.origin]
    (bound,) = rotating.trust().until.values()
    assert bound.size == rotated.statement.size
    assert clock.rfc3339(int(bound.time.timestamp() * 1000)) == rotated.statement.overlap_until
    rotating.rotation().end()
    believed(rotating.receipt(attempt()), rotating.trust())


def test_an_end_that_was_killed_is_repeated(rotating):
    """The old key is destroyed once; the second time there is nothing to end."""
    rotating.begin()
    rotating.rotation().end()

    with pytest.raises(NothingToEnd):
        rotating.rotation().end()


def test_the_overlap_is_kept_and_the_next_rotation_waits_for_it(rotating):
    """Nobody's pinned key is taken away early, and at most two keys sign at a time."""
    rotated = rotating.begin(clock.DAY_MS)
    until = clock.parse_time(rotated.statement.overlap_until)

    assert not rotating.rotation().due(until - 1)
    with pytest.raises(OverlapRuns):
        rotating.rotation().end(now_ms=until - 1)
    with pytest.raises(RotationOpen):
        rotating.begin()
    assert rotating.rotation().due(until)
    rotating.rotation().end(now_ms=until)

    assert rotating.begin().generation == 3


def test_a_restarted_process_reads_a_store_that_the_old_key_signed(rotating):
    """Both slots of the checkpoint store verify, whichever keys were there when they were put."""
    rotating.receipt(attempt())
    rotating.begin()
    rotating.rotation().end()

    rotating.house.reopen()

    believed(rotating.receipt(attempt()), rotating.trust())


def test_a_trust_file_keeps_what_it_says_of_replaced_keys(rotating):
    """Printing and parsing; who publishes later without knowing the sizes takes none away."""
    rotating.begin()
    said = rotating.trust()

    assert Trust.parse(said.print()) == said
    rotating.publish({rotating.house.origin: verifier_keys(
        rotating.house.keys, rotating.house.origin)}, {})  # fmt: skip
    assert rotating.trust().until == said.until != {}


def _stamped(house, authority):
    (outcome,) = house.post(attempt())
    Night(house.book, [authority.authority()]).interim()
    return outcome


def _sent(rotating, request, shelf):
    """Record a request as clients do: what is answered 503 is sent again, the same."""
    for _ in range(10):
        with suppress(Unavailable):
            return rotating.receipt(request, by=shelf)
    return rotating.receipt(request, by=shelf)


def _packet(rotating, outcome) -> bytes:
    request = PacketRequest(event_ids=(outcome.row.entry.event_id,))
    book = rotating.house.book
    return build_packet(book, request, trust_file=rotating.trust_file).data
