# SPDX-License-Identifier: GPL-3.0-or-later
"""`sealtrail event`, `tail` and `doctor`, reviews, searches and custody, against a real ledger."""

import json

import pytest
from served_house import serving

from sealtrail import Trail, cli, doctor_command
from sealtrail.journal import Journal
from sealtrail.verify import canonical
from sealtrail.verify.disclosure import PERSON, open_disclosure
from sealtrail.verify.trust import Trust

pytestmark = pytest.mark.once

PROMPT = "a lighthouse in the fog"
MODEL = "acme/painter@3.1"


@pytest.fixture(scope="module")
def service(postgres, tmp_path_factory):
    from house import house_in

    with (
        house_in(postgres, tmp_path_factory.mktemp("commands")) as house,
        serving(house) as running,
    ):
        yield running


@pytest.fixture
def told(service, tmp_path, monkeypatch):
    """The environment of a machine on which everything is set."""
    for name, text in (("pipeline", service.pipeline), ("auditor", service.auditor)):
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "trust.json").write_bytes(service.house.trust().print())
    monkeypatch.setenv("SEALTRAIL_URL", service.url)
    monkeypatch.setenv("SEALTRAIL_LEDGER", service.url)
    monkeypatch.setenv("SEALTRAIL_TOKEN_FILE", str(tmp_path / "pipeline"))
    monkeypatch.setenv("SEALTRAIL_AUDITOR_TOKEN_FILE", str(tmp_path / "auditor"))
    monkeypatch.setenv("SEALTRAIL_TRUST", str(tmp_path / "trust.json"))
    return tmp_path


@pytest.fixture
def trail(told):
    journal = Journal(root=told / "journals", user="tester", durable=False)
    with Trail(journal=journal) as made:
        yield made


def generated(trail):
    with trail.acting_for("emp-7"), trail.gen(model=MODEL, prompt=PROMPT) as call:
        call.output(b"x")
    return call


def test_an_event_is_posted_shown_and_listed(told, service, capsys):
    """What a file holds is recorded and verified; an auditor sees it in `show` and in `tail`."""
    request = {
        "type": "INGEST",
        "aggregate_id": "asset-by-command",
        "on_behalf_of": "emp-7",
        "body": {
            "asset": {"type": "image", "sha256": "sha256:" + "1" * 64},
            "rights": {"basis": "OWNED"},
        },
    }
    (told / "event.json").write_text(json.dumps(request))
    words = ["event", "post", str(told / "event.json"), "--trust", str(told / "trust.json")]
    assert cli.main([*words, "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    auditor = ["--token-file", str(told / "auditor")]
    assert cli.main(["event", "show", receipt["event_id"], *auditor]) == 0
    assert "asset-by-command" in capsys.readouterr().out
    assert cli.main(["tail", "type:INGEST", *auditor]) == 0
    assert receipt["event_id"] in capsys.readouterr().out
    assert [look["body"]["path"] for look in service.looks[-2:]] == [
        "/v1/events/{id}", "/v1/search",
    ]  # fmt: skip


def test_a_command_without_permission_says_so_in_one_line(told, capsys):
    """A pipeline's token cannot read: exit 2, and nothing on standard output."""
    assert cli.main(["tail", "--token-file", str(told / "pipeline")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


@pytest.mark.usefixtures("told")
def test_the_doctor_proves_that_it_fails_closed(capsys):
    """Four checks pass; were the attempt not recorded first, the first would not."""
    assert cli.main(["doctor", "--json"]) == 0
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["check"] for one in checks] == ["fail-closed", "environment", "ledger", "clock"]


def test_the_doctor_notices_a_watch_that_lets_calls_through(monkeypatch):
    """A transport that does not wait for the attempt is found out."""
    from sealtrail.watched import Watch

    monkeypatch.setattr(Watch, "is_call", lambda *_: False)
    assert not doctor_command.fails_closed().passed


def test_decisions_of_people_are_recorded(trail, service):
    """A review and an override, by whoever acts, whose name is sealed."""
    call = generated(trail)
    with trail.acting_for("emp-2"):
        trail.review(call.id, decision="deny", reason="unclear", notes="who is this?")
        diff = [{"op": "replace", "path": "/disposition", "value": "delivered"}]
        receipt = trail.review(
            call.id, decision="override", reason="second-look", original="DENY", new="ALLOW",
            diff=diff,
        )  # fmt: skip
    entry = canonical.decode(receipt.entry)
    assert (entry["type"], entry["body"]["outcome"]) == ("HUMAN_OVERRIDE", "ALLOW")
    values = service.house.book.vault.open(receipt.event_id).values
    assert values["reviewer"] == "emp-2"


def test_a_search_finds_what_was_just_recorded(trail):
    """With the auditor's own token, page after page, newest first."""
    calls = [generated(trail).attempt.event_id for _ in range(3)]
    found = [one["event_id"] for one in trail.search("type:GEN_ATTEMPT")]
    assert found[:3] == calls[::-1]


def test_under_producer_custody_the_ledger_sees_digests_only(told, service):
    """Prompt and person lie in the journal's folder, open the commitments, and are nowhere else."""
    journal = Journal(root=told / "custody", user="tester", durable=False)
    with Trail(journal=journal, custody="producer") as trail:
        call = generated(trail)
    entry = canonical.decode(call.attempt.entry)
    assert entry["actor"]["person_digest"] in entry["_sd"]
    assert service.house.book.vault.open(call.attempt.event_id).values == {}
    kept = json.loads((journal.directory / "custody" / f"{call.attempt.event_id}.json").read_text())
    assert open_disclosure(kept["prompt.user"])[2] == PROMPT
    assert open_disclosure(kept[PERSON])[2] == "emp-7"


def test_custody_needs_a_place_to_keep(told):
    """Without a journal nothing could ever open the commitments again."""
    trust = Trust.parse((told / "trust.json").read_bytes())
    with pytest.raises(ValueError, match="custody"):
        Trail(trust=trust, journal=False, custody="producer")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"self": 1}, "no such member"),
        ({"body": 5}, "body is an object"),
        ({"sealed": "ab"}, "sealed is an object"),
        ({"subjects": 5}, "subjects is an object"),
        ({"record_key": 5}, "record_key is a text"),
        ({"aggregate_id": 5}, "aggregate_id is a text"),
    ],
)
def test_a_request_of_another_form_is_told_which_member(told, capsys, changed, said):
    """In the words of the wire format, and not of the program that reads it."""
    request = {"type": "INGEST", "aggregate_id": "a", "body": {}, **changed}
    (told / "event.json").write_text(json.dumps(request))
    assert cli.main(["event", "post", str(told / "event.json")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-5", "501", "x", "\u0663"])
@pytest.mark.usefixtures("told")
def test_tail_lists_what_it_was_asked_for_or_says_how_many_it_can(number, capsys):
    """It does not list one for none, or 500 for 501."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["tail", f"-n={number}"])
    assert ended.value.code == 2
    assert "from 1 to 500" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../checkpoint", "x?disclose=prompt.user", ""])
def test_an_id_of_an_event_is_no_address(told, capsys, name):
    """What was pasted leads to an event and nowhere else, and discloses nothing."""
    words = ["event", "show", name, "--token-file", str(told / "auditor")]
    assert cli.main(words) == 2
    assert "an id holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "value"), [("SEALTRAIL_TOKEN_FILE", "/dev/null"), ("SEALTRAIL_URL", "ftp://x")]
)
@pytest.mark.usefixtures("told")
def test_the_doctor_says_what_is_wrong_with_what_is_set(monkeypatch, capsys, variable, value):
    """A failed check and its sentence, no traceback."""
    monkeypatch.setenv(variable, value)
    assert cli.main(["doctor", "--json"]) == 1
    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["check"], one["passed"]) for one in checks][1:] == [("environment", False)]


def test_the_journal_is_checked_by_what_the_environment_names(told, trail, capsys, monkeypatch):
    """What a Trail is told there is enough for the command, too."""
    generated(trail)
    monkeypatch.delenv("SEALTRAIL_LEDGER")
    assert cli.main(["journal", "check", str(told / "journals")]) == 0
    assert capsys.readouterr().out.endswith("VERIFIED\n")


def test_a_token_that_is_none_is_told_of_without_its_bytes(told, capsys):
    """Some file was named; what is in it stays there."""
    (told / "wrong").write_text("ünverstanden")
    assert cli.main(["tail", "--token-file", str(told / "wrong")]) == 2
    assert capsys.readouterr().err == (
        "sealtrail: The token's file holds something else than a token.\n"
    )
