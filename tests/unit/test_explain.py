"""An explanation is what the decoder does, also of damaged lines of all kinds."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example as instance
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from spoolhouse.decode.explain import Explainer
from spoolhouse.decode.line_decoder import Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.examples import example
from spoolhouse.events.shapes import SHAPES

SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
LINES = [json.dumps(example(event)).encode() for event in BUILT_IN.values()]
LINES += [b'{"level":"\xff","message":"m","timestamp":1}', b'{"data":"\xff"}', b'{"resourceLogs":[]}', b""]
LINES += [line for path in sorted(SAMPLES.glob("*.jsonl")) for line in path.read_bytes().splitlines() if line.strip()]
ORIGINS = {
    folder: Origin(project="p", policy="warn", clock_ms=1_795_262_400_000, type=folder, file=f"{folder}/p/a.jsonl")
    for folder in ("", "span", "log", "metric")
}
EXPLAINERS = {folder: Explainer(BUILT_IN, SHAPES, origin) for folder, origin in ORIGINS.items()}
DAMAGE = [b"", b"{", b"}", b'"', b"\\", b"\xff", b"null", b",", b":", b"[", b"1e999", b"\0", b"\\ud800", b" ", b"data"]


@composite
def damaged(draw: DrawFn) -> bytes:
    """A line of a producer, and then some bytes of it changed, cut out or put in."""
    data = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 2))):
        place, cut = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 0, 1, 2, 9]))
        data = data[:place] + draw(st.sampled_from(DAMAGE)) + data[place + cut :]
    return data.replace(b"\n", b"") + draw(st.sampled_from([b"\n", b"\r\n", b""]))


@given(damaged(), st.sampled_from([*ORIGINS]))
@instance(b'{"level":"7","msg":"m","time":"1795262400"}', "log")
@instance(b'{"level":"info","msg":"m","time":"20261121"}', "log")
@instance(b'{"level":"info","msg":"m","time":"\\u0031795262400"}', "log")
@instance(b'{"type":"error","msg":"m","time":"2026-11-21 12:00:00 UTC","a":NaN}', "log")
@instance(b'{"level":"\xff","message":"m","timestamp":1}\n', "")
@settings(max_examples=200, deadline=None)
def test_it_is_what_the_decoder_does(data: bytes, folder: str) -> None:
    origin, explainer = ORIGINS[folder], EXPLAINERS[folder]
    decoded = explainer.decoder.decode(Piece(offset=7, data=data), origin)
    found = explainer.explain(data, 1, 7)
    if not decoded.lines:
        assert found is None
        return
    assert found is not None
    rows: dict[str, list[object]] = {}
    for row in found.rows:
        rows.setdefault(row.table, []).append(json.loads(msgspec.json.encode(list(row.values.values()))))
    assert rows == {table: list(map(json.loads, some.data.splitlines())) for table, some in decoded.rows.items()}
    assert [(one.reason, one.field, one.detail) for one in decoded.rejects] == (
        [(found.rejected.reason, found.rejected.field, found.rejected.detail)] if found.rejected else []
    )
    if not decoded.rejects:
        assert {found.shape: 1} == (decoded.shapes or {"": 1})
        assert {key[:80] for key in found.converted} == decoded.converted.keys()
        assert {key[:80] for key in found.unknown} == decoded.unknown.keys()


def test_a_line_with_nan_is_of_the_type_that_it_names() -> None:
    line = json.dumps(example(BUILT_IN["span"])).encode()[:-1] + b',"loss":NaN}'
    found = EXPLAINERS["log"].explain(line, 1, 0)
    assert found is not None
    assert (found.type, found.unknown, "type" in found.derived) == ("span", ["loss"], False)


LOG = b'{"level":"info","msg":"m","time":1795262400}'


@pytest.mark.parametrize(
    ("folder", "data", "hint"),
    [
        ("log", gzip.compress(LOG), "has to end in .gz"),
        ("log", b"\x28\xb5\x2f\xfd\x04", "has to end in .zst"),
        ("log", LOG.decode().encode("utf-16"), "UTF-16"),
        ("log", LOG.decode().encode("utf-16-le"), "UTF-16"),
        ("log", b"2026-11-21T12:00:00.123456789Z stdout F " + LOG, "what follows them"),
        ("log", repr(json.loads(LOG)).encode(), "double quotes"),
        ("log", LOG + b" " + LOG, "each object is a line of its own"),
        ("log", LOG + b",", "without the comma"),
        ("log", b"[" + LOG + b"," + LOG + b"]", "jq -c '.[]'"),
        ("log", b"[", "jq -c '.[]'"),
        ("log", b"{", "jq -c ."),
        ("log", b'  "level": "info",', "jq -c ."),
        ("log", b"  },", "jq -c ."),
        ("log", b"plain text", "a line is one JSON object"),
        ("log", b"3", "a line is one JSON object"),
        ("log", b'{"msg":"caf\xe9","time":1795262400}', "UTF-8"),
        ("log", b'{"msg":"\\ud800","time":1795262400}', "half of a character"),
        ("log", b'{"a":' + b"[" * 99_999, "as text"),
        ("log", b"{}", "a time, and a message or a level"),
        ("", LOG, "--type log"),
    ],
)
def test_a_hint_names_what_to_do(folder: str, data: bytes, hint: str) -> None:
    found = EXPLAINERS[folder].explain(data + b"\n", 1, 0)
    assert found is not None
    assert found.rejected is not None
    assert hint in " ".join(found.rejected.hints)


def test_no_hint_that_would_not_help() -> None:
    """A folder where the line would be rejected, too; a field that is called as it should be."""
    found = EXPLAINERS[""].explain(b'{"msg":"m","name":"n"}\n', 1, 0)
    assert found is not None
    assert found.rejected is not None
    assert "--type" not in " ".join(found.rejected.hints)
    span = example(BUILT_IN["span"])
    found = EXPLAINERS["span"].explain(json.dumps({"type": "spans", "data": span}).encode() + b"\n", 1, 0)
    assert found is not None
    assert (found.rejected, found.unknown, found.meant) == (None, ["type"], {})
