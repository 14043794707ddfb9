# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts that were kept here, against a ledger that keeps its word, and against others."""

import json
import os
import threading

import pytest
from small_ledger import TOKEN

from sealtrail import Recorder, cli
from sealtrail.journal import FIRST, Journal, JournalBroken, files, line_hash, read
from sealtrail.journal_check import check
from sealtrail.verify import canonical
from sealtrail.verify.trust import Trust

pytestmark = pytest.mark.once


@pytest.fixture
def journal(tmp_path):
    return Journal(root=tmp_path / "journals", user="tester", durable=False)


@pytest.fixture
def kept(recorder, journal):
    """Six receipts in one journal, each under a checkpoint of its own."""
    for number in range(6):
        journal.keep(
            recorder.post("GEN_ATTEMPT", aggregate_id=f"g-{number}", body={}, on_behalf_of="p")
        )
    return journal


def checked(kept, ledger, recorder):
    return check(files(kept.directory), trust=ledger.trust, recorder=recorder)


def rewritten(kept, change):
    """Rewrite a journal's lines with right hashes, as somebody who may write the file can."""
    members = [json.loads(line) for line in kept.path.read_text().splitlines()]
    members = change(members)
    last = FIRST
    for number, one in enumerate(members):
        one |= {"n": number, "prev": last}
        last = one["hash"] = line_hash(one)
    kept.path.write_bytes(b"".join(canonical.encode(one) + b"\n" for one in members))


def test_a_ledger_that_keeps_its_word_is_verified(kept, ledger, recorder):
    """Later entries do no harm: every checkpoint is extended by the one shown now."""
    recorder.post("GEN_ATTEMPT", aggregate_id="later", body={}, on_behalf_of="p")
    report = checked(kept, ledger, recorder)
    assert report.verdict == "verified", report.findings
    assert (report.receipts, report.checkpoints) == (6, 6)


def test_a_ledger_that_cut_its_end_is_refuted_by_two_checkpoints(kept, ledger, recorder):
    """The largest checkpoint of the journal, and the smaller one that is shown now."""
    del ledger.entries[4:]
    report = checked(kept, ledger, recorder)
    (finding,) = report.findings
    assert (report.verdict, finding.kind) == ("refuted", "truncated")
    assert [note.splitlines()[1] for note in finding.checkpoints] == [b"6", b"4"]


@pytest.mark.parametrize("longer", [0, 3], ids=["of-the-same-size", "and-longer"])
def test_a_ledger_that_was_forked_is_refuted_by_two_checkpoints(kept, ledger, recorder, longer):
    """One entry is another one now: a signed checkpoint is not extended by what is shown."""
    ledger.entries[3] = ledger.entries[3].replace(b"GEN_ATTEMPT", b"MODERATION")
    ledger.entries += ledger.entries[:longer]
    report = checked(kept, ledger, recorder)
    assert (report.verdict, report.findings[0].kind) == ("refuted", "forked")
    assert len(set(report.findings[0].checkpoints)) == 2


def test_two_histories_in_one_journal_need_no_ledger(kept, ledger, recorder):
    """Two checkpoints of one size and different roots contradict each other by themselves."""
    ledger.entries.pop()
    other = recorder.post("GEN_ATTEMPT", aggregate_id="other", body={}, on_behalf_of="p")
    kept.keep(other)
    report = check(files(kept.directory), trust=ledger.trust, recorder=None)
    assert report.verdict == "refuted"
    assert report.findings[0].kind == "forked"
    assert len(report.findings[0].checkpoints) == 2


def test_without_a_ledger_the_verdict_is_incomplete(kept, ledger):
    """Held against itself only, and it says so."""
    report = check(files(kept.directory), trust=ledger.trust, recorder=None)
    assert [one.kind for one in report.findings] == ["unchecked"]
    assert report.verdict == "incomplete"


def test_a_ledger_that_is_away_leaves_it_incomplete(kept, ledger):
    """Nobody listens: nothing is refuted, and nothing is verified."""
    with Recorder("http://127.0.0.1:9", TOKEN, trust=ledger.trust, attempts=1) as nobody:
        report = checked(kept, ledger, nobody)
    assert report.verdict == "incomplete"


def test_a_page_in_place_of_the_checkpoint_accuses_nobody(kept, ledger, recorder):
    """A proxy's log-in page proves nothing, either way: the verdict is incomplete."""
    ledger.sign = lambda _text: b"<html>Who are you?</html>"
    report = checked(kept, ledger, recorder)
    assert report.verdict == "incomplete"
    assert "something else" in report.findings[0].sentence


def test_a_key_that_is_not_trusted_verifies_nothing(kept, recorder):
    """Another trust file: each receipt is named as not checked."""
    trust = Trust(origins={}, tsa_roots=())
    report = check(files(kept.directory), trust=trust, recorder=recorder)
    assert report.verdict != "verified"
    assert {one.kind for one in report.findings} <= {"unchecked", "invalid"}


def test_a_changed_or_missing_line_breaks_the_journal(kept, ledger, recorder):
    """Another byte, a line less in the middle, two lines in another order."""
    good = kept.path.read_bytes()
    lines = good.splitlines(keepends=True)
    for bad in (
        good.replace(b'"position":2', b'"position":3'),
        b"".join(lines[:2] + lines[3:]),
        b"".join([lines[1], lines[0], *lines[2:]]),
        b"x" * 70_000,
        b"[]\n",
    ):
        kept.path.write_bytes(bad)
        with pytest.raises(JournalBroken):
            list(read(kept.path))
        assert checked(kept, ledger, recorder).verdict == "refuted"


def test_a_rewritten_journal_is_caught_by_its_proofs(kept, ledger, recorder):
    """Who chains the lines anew cannot make a signed proof lead elsewhere."""

    def elsewhere(members):
        members[2]["position"] = 4
        return members

    def swapped(members):
        members[2]["leaf"] = members[3]["leaf"]
        return members

    for change in (elsewhere, swapped):
        rewritten(kept, change)
        report = checked(kept, ledger, recorder)
        assert "invalid" in {one.kind for one in report.findings}
        assert report.verdict == "refuted"


def test_half_a_line_at_the_end_is_what_a_crash_leaves(kept, ledger, recorder):
    """Its receipt was handed to nobody, so the rest still verifies."""
    kept.path.write_bytes(kept.path.read_bytes() + b'{"at":"2026-')
    assert checked(kept, ledger, recorder).verdict == "verified"


def test_threads_share_one_chain(journal, recorder):
    """Forty receipts by eight threads: one file, one chain, all of them."""

    def work(number):
        for step in range(5):
            name = f"g-{number}-{step}"
            journal.keep(recorder.post("GEN_ATTEMPT", aggregate_id=name, body={}, on_behalf_of="p"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(read(journal.path))) == 40


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "x" * 65])
def test_a_folder_has_a_plain_name(tmp_path, name):
    """Nothing that leads out of the journals' folder, and nothing that hides in a listing."""
    with pytest.raises(ValueError, match="context"):
        Journal(root=tmp_path, user="tester", context=name)


def test_the_command_tells_by_its_exit_status(kept, ledger, url, tmp_path, capsys):
    """0 while the ledger keeps its word, 1 with both checkpoints once it does not."""
    trust, token = tmp_path / "trust.json", tmp_path / "token"
    trust.write_bytes(ledger.trust.print())
    token.write_text(TOKEN)
    words = ["journal", "check", str(kept.directory), "--trust", str(trust), "--ledger", url]
    words += ["--token-file", str(token)]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.endswith("VERIFIED\n")
    del ledger.entries[4:]
    assert cli.main([*words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["findings"][0]["checkpoints"]) == 2
    assert cli.main(["journal", "list", str(kept.directory)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    kept.pending("01a1fd98-600c-7a8f-9b67-8c238f99b304", b"k" * 32)
    answered = next(read(kept.path)).event_id
    kept.pending(answered, b"k" * 32)  # Interrupted between its receipt and forgetting its key.
    assert cli.main(["journal", "check", str(kept.directory), "--trust", str(trust)]) == 3
    shown = capsys.readouterr().out
    assert "01a1fd98-600c" in shown
    assert answered not in shown


@pytest.fixture
def words(ledger, url, tmp_path):
    """`journal check` against a ledger that keeps its word."""
    (tmp_path / "trust.json").write_bytes(ledger.trust.print())
    (tmp_path / "token").write_text(TOKEN)
    options = {"trust": tmp_path / "trust.json", "ledger": url, "token-file": tmp_path / "token"}
    return ["journal", "check", *(f"--{name}={value}" for name, value in options.items())]


def test_a_folder_that_is_not_there_is_not_verified(words, tmp_path, capsys):
    """A slip in its name must not end like a ledger that kept every promise."""
    assert cli.main([*words, str(tmp_path / "jurnals")]) == 2
    assert "jurnals" in capsys.readouterr().err


def test_a_folder_without_receipts_is_incomplete(words, recorder, tmp_path, capsys):
    """Nothing was checked, and the word for that is not *verified*."""
    recorder.post("GEN_ATTEMPT", aggregate_id="g", body={}, on_behalf_of="p")
    (tmp_path / "nothing").mkdir()
    assert cli.main([*words, str(tmp_path / "nothing")]) == 3
    assert "no receipt" in capsys.readouterr().out


def test_one_journal_is_checked_by_its_name(words, kept, capsys):
    """A file instead of a folder is that file, and not a folder without journals."""
    assert cli.main([*words, str(kept.path)]) == 0
    assert capsys.readouterr().out.startswith("6 receipts in 1 journals")


def test_a_journal_that_cannot_be_read_is_not_passed_over(words, kept, capsys):
    """A link to nowhere: the others are checked, and the verdict is incomplete."""
    (kept.directory / "x.jsonl").symlink_to("/nonexistent")
    assert cli.main([*words, str(kept.directory)]) == 3
    assert "x.jsonl cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("problem", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_line_that_was_cut_off_from_its_receipt_ends_its_file(
    kept, recorder, monkeypatch, problem
):
    """The disk was full, or somebody pressed a key: the next line begins another file."""

    def interrupted(_handle):
        raise problem

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupted)
        kept._durable = True
        with pytest.raises(type(problem)):
            kept.keep(recorder.post("GEN_ATTEMPT", aggregate_id="a", body={}, on_behalf_of="p"))
    kept._durable = False
    kept.keep(recorder.post("GEN_ATTEMPT", aggregate_id="b", body={}, on_behalf_of="p"))
    assert sorted(len(list(read(path))) for path in files(kept.directory)) == [1, 7]


def test_an_account_without_a_home_is_told_what_to_set(monkeypatch):
    """A container under any number: no traceback of the standard library."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="set HOME"):
        Journal()
    assert cli.main(["journal", "list"]) == 2
