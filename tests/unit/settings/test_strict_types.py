"""No value of another type is taken for a number, a word or a boolean, in no key of either file."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from authz import settings
from authz.core.policy import fields, schema
from authz.settings.sections import Section

STRICT = ConfigDict(strict=True)


def models(base):
    for model in base.__subclasses__():
        yield model
        yield from models(model)


FIELDS = [
    pytest.param(field, id=f"{model.__module__}.{model.__name__}.{name}")
    for base in (Section, fields.Section)
    for model in models(base)
    for name, field in model.model_fields.items()
]
IMPOSTORS = [True, False, 1, 0, 1.0, "1", "true", "yes", None]


def takes(field, value):
    kind: Any = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):  # it is strict by itself
        adapter = TypeAdapter(kind)
    else:
        adapter = TypeAdapter(Annotated[(kind, *field.metadata)] if field.metadata else kind, config=STRICT)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        return ...


@pytest.mark.parametrize("field", FIELDS)
def test_what_is_taken_has_the_type_that_was_written(field):
    for value in IMPOSTORS:
        taken = takes(field, value)
        assert taken is ... or type(taken) is type(value) or not isinstance(taken, bool | int | float), (value, taken)


def test_the_fields_of_both_files_are_there():
    ids = {param.id for param in FIELDS}
    assert {"authz.settings.Settings.workers", "authz.core.policy.schema.PolicyFile.version"} <= ids
    assert settings.Settings.model_config["strict"]
    assert len(ids) > 100


@pytest.mark.parametrize("value", [True, 1.0, "1", 2, None])
@pytest.mark.parametrize("model", [settings.Settings, schema.PolicyFile])
def test_only_the_number_is_a_version(model, value):
    assert takes(model.model_fields["version"], value) is ...
    assert takes(model.model_fields["version"], 1) == 1
