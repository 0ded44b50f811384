"""What the reference says of event types is what the decoder does."""

import json
from typing import Any

import pytest

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Kind
from spoolhouse.events.examples import BUILT_IN as EXAMPLES
from spoolhouse.events.reference import KINDS, FieldReference, reference
from spoolhouse.events.shapes import SHAPES
from spoolhouse.events.shapes.shape import Shape

DECODER = LineDecoder(BUILT_IN)
CLOCK_MS = 1_795_262_400_000
REFERENCES = {name: reference(event) for name, event in BUILT_IN.items()}
VALUES: dict[Kind, object] = {
    Kind.TEXT: "text",
    Kind.SCALAR: 7,
    Kind.ANY: "text",
    Kind.INTEGER: 7,
    Kind.INTEGER32: 7,
    Kind.NUMBER: 7.5,
    Kind.TIME: "2026-11-21T12:00:01Z",
    Kind.JSON: {"a": 1},
    Kind.NUMBERS: [7.5],
    Kind.COUNTS: [7],
    Kind.TEXTS: ["text"],
}


def decode(kind: str, event: dict[str, Any]) -> Decoded:
    """What a line of an event comes to in the folder of its type."""
    origin = Origin(project="shop", policy="trust", clock_ms=CLOCK_MS, type=kind, file=f"{kind}/shop/a.jsonl")
    return DECODER.decode(Piece(offset=0, data=json.dumps(event).encode() + b"\n"), origin)


def rows(kind: str, event: dict[str, Any]) -> dict[str, Any]:
    decoded = decode(kind, event)
    assert (decoded.rejects, decoded.unknown) == ([], {}), event
    return {table: json.loads(some.data) for table, some in decoded.rows.items()}


def without(event: dict[str, Any], key: str) -> dict[str, Any]:
    """The event without a field, given by its path."""
    first, _, rest = key.partition(".")
    inner = {first: without(event[first], rest)} if rest and first in event else {}
    return {name: value for name, value in event.items() if name != first} | inner


def given(event: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return event | {first: given(event.get(first, {}), rest, value) if rest else value}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_an_example_lands_as_it_is(kind: str) -> None:
    decoded = decode(kind, dict(REFERENCES[kind].example))
    assert (decoded.rejects, decoded.unknown, decoded.converted) == ([], {}, {})
    assert next(iter(decoded.rows)) == REFERENCES[kind].tables[0]
    assert kind in EXAMPLES


@pytest.mark.parametrize("kind", BUILT_IN)
def test_a_line_is_rejected_without_what_is_required_and_lands_without_all_else(kind: str) -> None:
    about = REFERENCES[kind]
    example = dict(about.example)
    everything = {field.key for field in about.fields}
    for key in everything:
        rejected = bool(decode(kind, without(example, key)).rejects)
        assert rejected == (key in about.required or key in about.needs), key
    for key in about.needs:
        other = without(example, key) | {"tool_calls": [{"tool_name": "a"}]}
        assert decode(kind, other).rejects == []


@pytest.mark.parametrize("kind", BUILT_IN)
def test_each_key_of_a_field_fills_its_column(kind: str) -> None:
    about = REFERENCES[kind]
    words = {word: one for one, word in KINDS.items()}
    compared = 0
    for field in about.fields:
        value = field.choices[-1] if field.choices else VALUES[words[field.value]]
        bare = without(dict(about.example), field.key)
        expected = rows(kind, given(bare, field.key, value))
        for other in (key for key in field.also if key != "type"):
            assert rows(kind, given(bare, other, value)) == expected, (field.key, other)
            compared += 1
        assert named(kind, bare, field) == {name: choice for name, choice in field.names.items() if name}
    assert compared >= 5


@pytest.mark.parametrize("kind", BUILT_IN)
def test_an_object_stands_for_a_choice_where_the_reference_says_so(kind: str) -> None:
    about = REFERENCES[kind]
    columns = [column.name for column in BUILT_IN[kind].parts[0].columns]
    implied = [(field, key, choice) for field in about.fields for key, choice in field.implied.items()]
    assert bool(implied) == (kind in {"trace", "span"})
    for field, key, choice in implied:
        decoded = decode(kind, given(without(dict(about.example), field.key), key, {"message": "m"}))
        assert json.loads(decoded.rows[about.tables[0]].data)[columns.index(field.columns[0])] == choice, key


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_says_what_its_lines_become(shape: Shape) -> None:
    """Every key that tells it is named there, or is one of its other spellings."""
    told = " ".join((*shape.becomes, shape.about)).replace("_", "").lower()
    assert {key for key in shape.keys if key.replace("_", "").lower() not in told} == set()


def named(kind: str, event: dict[str, Any], field: FieldReference) -> dict[str, str]:
    """The choices that the other names of a field's choices land as."""
    columns = [column.name for column in BUILT_IN[kind].parts[0].columns]
    table = REFERENCES[kind].tables[0]
    return {
        name: rows(kind, given(event, field.key, name))[table][columns.index(field.columns[0])]
        for name in field.names
        if name
    }
