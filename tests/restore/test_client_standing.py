# SPDX-License-Identifier: GPL-3.0-or-later
"""A client with old receipts asks the ledger, after a restore, what they are worth."""

import json
from types import SimpleNamespace

import pytest
from house import attempt
from restoring import accept, backup_of, post
from served_house import serving

from sealtrail import ReceiptInvalid, Recorder, cli
from sealtrail.standing import inherits
from sealtrail.verify.trust import Trust

#: What is asked here does not depend on which PostgreSQL it is.
pytestmark = pytest.mark.once

FILES = {"entry": "entry", "trust": "trust.json", "token-file": "token"}


@pytest.fixture(scope="module")
def asked(pattern, tmp_path_factory):
    """A served ledger that was restored: the receipt of an entry that survived, one of a lost one,
    the trust file of today, and the one of yesterday.
    """
    from house import house_in

    with house_in(pattern, tmp_path_factory.mktemp("asked")) as house:
        yesterday = house.trust()
        (kept,) = post(house, attempt())
        with backup_of(house) as backup:
            lost = post(house, attempt(), attempt(), attempt())
            house.shelf.close()
            backup.restore()
        accept(house)
        today = Trust.parse((house.directory / "trust.json").read_bytes())
        house.reopen()
        post(house, attempt())
        with serving(house) as service:
            yield SimpleNamespace(
                service=service, kept=kept, lost=lost, today=today, yesterday=yesterday
            )


def standing(asked, receipt, trust):
    with Recorder(asked.service.url, asked.service.pipeline, trust=trust) as recorder:
        return recorder.standing(receipt.proof.tlog_proof(), entry=receipt.entry)


def test_an_old_receipt_is_in_the_log_or_orphaned(asked):
    """The one that survived gets a new proof; of the lost ones, two lie where other entries lie
    now, and one beyond the end.
    """
    kept = standing(asked, asked.kept, asked.today)
    lost = [standing(asked, one, asked.today) for one in asked.lost]

    assert (kept.verdict, kept.position) == ("in the log", 0)
    assert kept.proof is not None
    assert {one.verdict for one in lost} == {"orphaned by restore"}
    assert [one.position for one in lost] == [1, 2, 3]
    for one in (kept, *lost):
        old, new = one.text().splitlines()[1:]
        assert f"{asked.service.house.origin}  size" in old
        assert f"{asked.service.house.origin}/i2  size 3" in new


def test_a_client_with_yesterdays_trust_is_told_nothing(asked):
    """An origin that its trust file does not name may be anybody's: the operator publishes it."""
    with pytest.raises(ReceiptInvalid) as refusal:
        standing(asked, asked.kept, asked.yesterday)

    assert refusal.value.check == "origin"


def test_the_command_says_it_with_its_exit_code(asked, tmp_path, capsys):
    """0 in the log, 3 orphaned, 1 for a proof that does not hold."""
    (tmp_path / "trust.json").write_bytes(asked.today.print())
    (tmp_path / "token").write_text(asked.service.pipeline)

    def run(receipt, entry=None):
        (tmp_path / "proof").write_bytes(receipt.proof.tlog_proof())
        (tmp_path / "entry").write_bytes(entry or receipt.entry)
        named = [f"--{name}={tmp_path / file}" for name, file in FILES.items()]
        proof = str(tmp_path / "proof")
        code = cli.main(
            ["proof", "standing", proof, "--json", "--ledger", asked.service.url, *named]
        )
        return code, capsys.readouterr().out

    in_the_log, orphaned = run(asked.kept), run(asked.lost[0])

    assert (in_the_log[0], json.loads(in_the_log[1])["verdict"]) == (0, "in the log")
    assert (orphaned[0], json.loads(orphaned[1])["verdict"]) == (3, "orphaned by restore")
    code, told = run(asked.kept, asked.lost[0].entry)
    assert (code, json.loads(told)["error"]) == (1, "refuted")


@pytest.mark.parametrize(
    ("origin", "old", "does"),
    [
        ("a/b", "a/b", True),
        ("a/b/i2", "a/b", True),
        ("a/b/i10", "a/b/i9", True),
        ("a/b/i2", "a/b/i3", False),
        ("a/b", "a/b/i2", False),
        ("a/b/i1", "a/b", False),
        ("a/b/i02", "a/b", False),
        ("a/b/access/i2", "a/b", False),
        ("a/c/i2", "a/b", False),
    ],
)
def test_only_a_later_incarnation_inherits(origin, old, does):
    """Another log of the same operator, or an earlier incarnation, orphans nothing."""
    assert inherits(origin, old) is does
