# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of a request, over the bodies of every type that a client may send."""

import pytest
from event_bodies import FULL, LEAST
from house import attempt
from jsonschema import Draft202012Validator
from published import CLIENTS, REQUEST

from ledger.request import MEMBERS
from ledger.request_schema import entry_schema, request_schema

pytestmark = pytest.mark.once


@pytest.mark.parametrize("type_", CLIENTS)
def test_any_body_makes_a_request_of_its_type_and_of_no_other(type_):
    """Bodies of every client's type, least and full."""
    for body in (LEAST[type_], FULL.get(type_, LEAST[type_])):
        request = attempt(type=type_, body=body)

        assert list(REQUEST.iter_errors(request)) == []
        assert not REQUEST.is_valid(request | {"body": {**body, "more": 1}})
        assert not REQUEST.is_valid(request | {"schema": True})
        assert not REQUEST.is_valid(request | {"type": "ANCHOR"})


def test_the_request_names_each_member_that_the_ledger_takes():
    assert set(request_schema()["properties"]) == MEMBERS


def test_both_are_schemas_and_hold_no_default():
    for schema in (request_schema(), entry_schema()):
        Draft202012Validator.check_schema(schema)
        assert "'default'" not in str(schema)
