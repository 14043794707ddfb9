# SPDX-License-Identifier: GPL-3.0-or-later
"""A quick yes: whether a value has a model's form, without making the model.

pydantic builds an object for each part of an event, which nobody here looks at again. The same
rules over plain dictionaries cost two thirds. A no is never taken from here: the model itself
says what is wrong. A test holds the two against each other for every event class.
"""

from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator

Schema = dict[str, Any]


def shape_of(model: type[BaseModel]) -> SchemaValidator:
    """Return a validator that takes the same dictionaries as `model` and makes none of its own."""
    return SchemaValidator(_plain(model.__pydantic_core_schema__))


def _plain(schema: Any) -> Any:
    """Return a core schema with a typed dictionary in the place of each model."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "model" and schema["schema"]["type"] == "model-fields":
        return _typed_dict(schema)
    if schema.get("type", "").startswith("function-") and _is_model(schema["schema"]):
        return schema  # A rule over a whole model is asked with a model.
    plain = {name: _plain(value) for name, value in schema.items()}
    if schema.get("type") == "definitions":  # Parts that one model has more than once.
        named = zip(plain["definitions"], schema["definitions"], strict=True)
        plain["definitions"] = [one | {"ref": old["ref"]} for one, old in named]
    return plain


def _is_model(schema: Schema) -> bool:
    return schema["type"] == "model" or ("schema" in schema and _is_model(schema["schema"]))


def _typed_dict(model: Schema) -> Schema:
    fields = {}
    for name, field in model["schema"]["fields"].items():
        inner, required = field["schema"], True
        if inner["type"] == "default":  # Absent means absent: defaults are never looked at.
            inner, required = inner["schema"], False
        fields[field.get("validation_alias", name)] = {
            "type": "typed-dict-field",
            "schema": _plain(inner),
            "required": required,
        }
    return {
        "type": "typed-dict",
        "fields": fields,
        "extra_behavior": "forbid",
        "config": {"strict": True, "hide_input_in_errors": True},
    }
