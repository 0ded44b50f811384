"""The base of all groups of settings, and their common types of values."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field
from pydantic_core import PydanticCustomError

T = TypeVar("T")

YEAR = 365 * 24 * 3600.0
MIB = 1024 * 1024


def number(value: object) -> object:
    """Refuse true and false as numbers: Python would take them for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "true and false are no numbers")
    return value


RELOADABLE = object()
"""Marks a setting that a running daemon reloads from its file (SIGHUP); others need a restart."""
Live = Annotated[T, RELOADABLE]

Seconds = Annotated[float, BeforeValidator(number), Field(gt=0, le=YEAR, allow_inf_nan=False)]
Size = Annotated[ByteSize, BeforeValidator(number), Field(gt=0, le=1024**4)]
Reserve = Annotated[ByteSize, BeforeValidator(number), Field(ge=0, le=1024**4)]
Count = Annotated[int, BeforeValidator(number), Field(gt=0)]


class Group(BaseModel):
    """A table of the settings file: frozen, and unknown names are refused."""

    # defer_build: `Settings` builds a validator for all groups together; one for each group besides is rarely wanted.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, defer_build=True
    )
