# SPDX-License-Identifier: GPL-3.0-or-later
"""The quick yes to a body is the model's own yes, for every event and every member."""

import functools

import event_bodies
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_events import EVERY_MEMBER, IDS, changed

from ledger.catalog import CATALOG
from ledger.events.envelope import Envelope
from ledger.events.shapes import shape_of

WRONG = (
    None,
    1.5,
    True,
    0,
    -1,
    2**53,
    "",
    "x",
    "sha256:00",
    "2026-02-30T00:00:00.000Z",
    [],
    {},
    ["x"],
    {"x": "y"},
)
ENVELOPE = shape_of(Envelope)


def takes(ask, value):
    try:
        ask(value)
    except ValidationError:
        return False
    return True


def agree(event, body):
    assert takes(event.shape.validate_python, body) == takes(event.model.model_validate, body)


@pytest.mark.parametrize(("type_", "path"), EVERY_MEMBER, ids=IDS)
def test_shape_and_model_agree_about_every_member(type_, path):
    """Each member of each full body in turn is made something else."""
    event = CATALOG[type_, 1]
    body = event_bodies.FULL[type_]
    agree(event, body)
    for value in WRONG:
        agree(event, changed(body, path, value))


@functools.cache
def objects_of(model):
    """Objects of a model's own names. Made once: the making costs more than a draw."""
    names = st.sampled_from([*model.model_fields, "unknown"])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
        max_leaves=4,
    )
    return st.dictionaries(names, values, max_size=4)


@pytest.mark.parametrize("event", CATALOG.values(), ids=lambda event: event.type)
@settings(suppress_health_check=[HealthCheck.too_slow])  # The first draw makes the strategies.
@given(data=st.data())
def test_shape_and_model_agree_about_any_json(event, data):
    """Objects of the members' own names, with whatever in them."""
    agree(event, data.draw(objects_of(event.model)))


@given(
    st.dictionaries(
        st.sampled_from([*Envelope.model_fields, "x"]),
        st.integers()
        | st.text(max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "n", "version", "rel"]),
            st.integers() | st.text(max_size=3),
            max_size=3,
        ),
        max_size=4,
    )
)
def test_shape_and_model_agree_about_the_envelope(groups):
    """The optional groups, right and wrong."""
    assert takes(ENVELOPE.validate_python, groups) == takes(Envelope.model_validate, groups)
