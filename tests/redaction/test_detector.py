# SPDX-License-Identifier: GPL-3.0-or-later
"""What is hidden in a copy, what stays, and what somebody tries who wants to be seen."""

import json

import pytest

from ledger.redaction.detector import Detector, RedactionMissing, TooSlow, folded
from ledger.redaction.rules import Rules

RULES = {
    "terms": ["Project Nightingale"],
    "patterns": {"CUSTOMER": "C-[0-9]{6}"},
    "keep": ["press@acme.example"],
}


@pytest.fixture(scope="module")
def detector():
    return Detector(Rules.parse(json.dumps({"v": 1, **RULES}), version=1))


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        ("mail erika@example.org!", "mail [EMAIL_ADDRESS]!"),
        ("to erika@intranet.corp", "to [EMAIL_ADDRESS]"),
        ("call +49 30 901820 now", "call [PHONE_NUMBER] now"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [IBAN_CODE]"),
        ("card 4111 1111 1111 1111", "card [CREDIT_CARD]"),
        ("at 192.168.3.4", "at [IP_ADDRESS]"),
        ("see www.example.com/erika", "see [URL]"),
        ("about project nightingale", "about [TERM]"),
        ("about Project\nNightingale, Project  Nightingale.", "about [TERM], [TERM]."),
        ("about projects nightingale", "about projects nightingale"),
        ("order C-123456", "order [CUSTOMER]"),
    ],
)
def test_what_identifies_somebody_is_replaced_by_its_kind(detector, text, copy):
    assert detector.redact(text) == copy


@pytest.mark.parametrize(
    "text",
    [
        "a lighthouse at dusk, 8k, seed 18446744073709551615, 1920x1080, cfg 7.5",
        "card 4111 1111 1111 1112 fails its check digit",
        "write to press@acme.example",
        "",
    ],
)
def test_what_identifies_nobody_stays(detector, text):
    assert detector.redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "erika\u200b@exam\u200bple.org",
        "\uff14\uff11\uff11\uff11 1111 1111 1111",
        "erika@\u00adexample.org",
        "\ufb01nn@example.org",
    ],
)
def test_invisible_and_wide_characters_hide_nothing(detector, text):
    """Zero-width space, soft hyphen, full-width digits, ligatures: folded before anything else."""
    assert detector.redact(text).startswith("[")
    assert folded(text).isascii()


def test_a_find_across_the_edge_of_two_pieces_is_found_whole(detector):
    """A long prompt is looked at in pieces that overlap."""
    for before in range(700, 1_010, 31):
        text = f"{'x ' * (before // 2)}erika.mustermann@example.org end"
        assert detector.redact(text).endswith("[EMAIL_ADDRESS] end")


def test_what_overlaps_is_hidden_as_one(detector):
    """A telephone number inside an address in the web is not shown in part."""
    assert detector.redact("x https://example.com/+493090182000 y") == "x [URL] y"


def test_a_text_that_a_pattern_cannot_finish_is_not_called_redacted(detector, monkeypatch):
    """The library would go on without that pattern, and its finds would be shown."""
    monkeypatch.setattr("ledger.redaction.detector._PATTERN_S", 1e-9)

    with pytest.raises(TooSlow):
        detector.redact("a." * 2_000 + " erika@example.org")


def test_names_are_found_by_a_model_of_the_operators(tmp_path):
    """A spaCy pipeline in a directory; here one that knows one name by heart."""
    spacy = pytest.importorskip("spacy")
    made = spacy.blank("en")
    made.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Erika Mustermann"}])
    made.to_disk(tmp_path / "model")

    with_model = Detector(Rules(), str(tmp_path / "model"))

    assert with_model.redact("for Erika Mustermann") == "for [PERSON]"
    with pytest.raises(RedactionMissing, match="model"):
        Detector(Rules(), str(tmp_path / "nowhere"))


def test_nothing_is_fetched_from_anywhere(detector, monkeypatch):
    """A list of domains that a library loads by itself would tell others what we look at."""
    import socket

    def refused(*_args, **_options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)

    assert detector.redact("a@b.example, www.example.com") == "[EMAIL_ADDRESS], [URL]"
