"""The places that a fault can strike at, read from the source: what `reach` and the journal's steps name."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "daemon" / "spoolhouse"


def places(store: str = "clickhouse") -> list[str]:
    """Return the names of all failpoints that a daemon with this store can meet, in the order of the modules."""
    other = {"clickhouse": "duckdb", "duckdb": "clickhouse"}[store]
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if other not in path.parts]
    return [name for path in paths for name in of_module(path)]


def on_disk() -> list[str]:
    """Return the names of those at which our own disk is read or written, in the same order."""
    return [name for path in sorted(DISK) for name in of_module(path)]


@cache
def of_module(path: Path) -> tuple[str, ...]:
    """Return the failpoints that a module names: once, because each process that runs tests asks for all of them."""
    text = path.read_text()
    # Most modules have none, and to read them all as Python takes seconds.
    return tuple(named_in(ast.parse(text))) if "reach(" in text or "_transaction(" in text else ()


def named_in(tree: ast.AST) -> Iterator[str]:
    """Yield the failpoints that a piece of code names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and isinstance(first := node.args[0], ast.Constant):
            if isinstance(node.func, ast.Name) and node.func.id == "reach":
                yield str(first.value)
            elif isinstance(node.func, ast.Attribute) and node.func.attr == "_transaction":
                yield f"journal.{first.value!s}"


STAGES = tuple(
    PACKAGE / "pipeline" / f"{name}.py"
    for name in ("claim", "decode", "insert", "bisect", "whole_lines", "settle", "record", "adopt")
)
LANDING = tuple(
    PACKAGE / "store" / name
    for name in ("clickhouse/store.py", "clickhouse/landing/repair.py", "duckdb/store.py", "duckdb/rows.py")
)
DISK = tuple(
    PACKAGE / "spool" / f"{name}.py"
    for name in (
        "journal",
        "claims",
        "instance",
        "instance_dirs",
        "fs",
        "finalize",
        "reject_file",
        "shipment_pieces",
        "shipment_reader",
    )
)
DURABLE = frozenset({"fsync", "rename", "renameat2", "replace", "unlink", "rmdir", "mkdir", "copyfileobj"})
"""Calls that change what a restart finds."""
WAITS = frozenset({"sleep", "pause", "wait", "receive", "receive_many", "send", "shield"})
"""Awaits that change nothing outside this process: a kill there is a kill at the place before."""
HARMLESS = {
    ("claim", "run", "_until_writable"): "waits",
    ("claim", "run", "_is_open"): "waits",
    ("claim", "_is_open", "idle_until"): "waits",
    ("claim", "_until_writable", "idle_until"): "waits",
    ("claim", "_follow_tails", "_follow"): "ships or forgets, which have their places",
    ("decode", "_keep", "persist"): "does what it is given, which has its places",
    ("decode", "decode", "next"): "waits",
    ("decode", "decode", "postpone"): "waits, or hands on in memory",
    ("decode", "_take", "_keep"): "writes rejects, which have their places",
    ("settle", "run", "_try_again"): "settles, which has its places",
    ("settle", "run", "_settle"): "its places are inside",
    ("settle", "_try_again", "_settle"): "its places are inside",
    ("decode", "run", "_end_round"): "hands on, in memory; the batch has a place of its own",
    ("decode", "_take_read", "_give"): "hands on, in memory; the batch has a place of its own",
    ("decode", "_give", "_give_small"): "hands on, in memory; the batch has a place of its own",
    ("decode", "_end_round", "_give_small"): "hands on, in memory; the batch has a place of its own",
    ("decode", "_take", "drop_long"): "a place is inside, if there is anything to drop",
    ("insert", "run", "_next"): "waits",
    ("insert", "run", "_deliver"): "places are inside, at each step",
    ("insert", "_deliver", "_land"): "places are inside, at each step",
    ("insert", "_land", "expect_all_rows"): "waits",
    ("insert", "_land", "land"): "the places of the store are inside",
    ("insert", "_land", "divide"): "the journal's own places are inside",
    ("insert", "_land", "lighten"): "the journal's own places are inside",
    ("bisect", "divide", "split"): "the journal's own places are inside",
    ("bisect", "lighten", "split"): "the journal's own places are inside",
    ("store", "attempt", "_server"): "reads",
    ("store", "attempt", "_landed_before"): "reads; the places of staging are inside",
    ("store", "_landed_before", "require_no_running_attempt"): "reads; what follows has a place",
    ("store", "_landed_before", "_expect_same_rows"): "the places of staging are inside",
    ("store", "_landed_before", "was_deleted"): "reads",
    ("store", "attempt", "_complete"): "the places of repair are inside",
    ("store", "_send", "insert_rows"): "the places before and after it are in attempt",
    ("store", "_is_nowhere", "require_no_running_attempt"): "reads; what follows has a place",
    ("store", "_server", "pick"): "reads",
    ("store", "_server", "others"): "reads",
    ("store", "_server", "require_no_running_attempt"): "reads; what follows has a place",
    ("store", "_server", "sync_replica"): "waits for what a replica fetches by itself",
    ("store", "_complete", "repair"): "places are inside, at each step",
    ("store", "_complete", "others"): "reads; what follows has a place",
    ("store", "_expect_same_rows", "count_mismatched"): "the places of staging are inside",
    ("insert", "_next", "_delivery"): "reads the journal",
    ("bisect", "divide", "_halve"): "the journal's own places are inside",
    ("bisect", "lighten", "_halve"): "the journal's own places are inside",
    ("insert", "_land", "refused"): "the places are inside",
    ("whole_lines", "sending", "_is_unchecked"): "reads",
    ("whole_lines", "sending", "_leave_out"): "the places are inside",
    ("whole_lines", "sending", "cuts"): "reads the journal",
    ("whole_lines", "before_end", "batches"): "waits",
    ("whole_lines", "refused", "batches"): "waits",
    ("whole_lines", "refused", "_leave_out"): "the places are inside",
    ("whole_lines", "_is_unchecked", "may_refuse"): "reads",
    ("whole_lines", "_leave_out", "batches"): "waits",
    ("whole_lines", "_leave_out", "_landed"): "reads",
    ("whole_lines", "_leave_out", "_rows_of"): "reads",
    ("whole_lines", "_leave_out", "_refused_rows"): "the places are inside",
    ("whole_lines", "_landed", "find"): "reads",
    ("whole_lines", "_cuts", "count"): "waits",
    ("whole_lines", "_cuts", "cuts"): "reads the journal",
    ("whole_lines", "_rows_of", "batches"): "waits",
    ("whole_lines", "_refused_rows", "_cuts"): "reads the journal",
    ("store", "land", "_drop_undropped"): "drops copies that an earlier check has left",
    ("store", "drop_abandoned", "pick"): "reads",
    ("store", "drop_abandoned", "others"): "reads",
    ("store", "drop_abandoned", "drop_abandoned"): "drops what killed processes have left",
    ("store", "may_refuse", "may_refuse"): "reads",
    ("store", "check", "pick"): "reads",
    ("store", "check", "stage"): "the places are inside",
    ("store", "check", "replace"): "of text",
    ("rows", "written", "close"): "of a file without a name: a kill drops it, too",
    ("store", "expire", "checkpoint"): "changes no row; DuckDB does so by itself, too, at any commit",
    ("repair", "repair", "stage_kept"): "the places are inside",
    ("repair", "repair", "fill"): "the places are inside",
    ("repair", "stage_kept", "stage"): "the places are inside",
    ("repair", "stage_kept", "may_cover"): "reads",
    ("repair", "stage_kept", "leave_out_deleted"): "of a table that the next attempt makes anew",
    ("repair", "was_deleted", "may_cover"): "reads",
    ("repair", "fill", "_is_recent"): "reads",
    ("repair", "_is_recent", "server_ms"): "reads",
    ("repair", "stage", "execute"): "makes an empty table, which the next attempt drops",
    ("bisect", "refused_lines", "replace"): "of text",
    ("repair", "fill", "_partitions"): "reads",
    ("repair", "fill", "_is_wanted"): "reads",
    ("repair", "fill", "_has_figures"): "reads",
    ("repair", "_partitions", "execute"): "reads",
    ("repair", "_is_wanted", "execute"): "reads",
    ("repair", "_has_figures", "execute"): "reads",
    ("rows", "written", "flush"): "writes a file without a name, of which a kill leaves nothing",
    ("record", "run", "_write_all"): "the places are inside",
    ("record", "_write_all", "idle_until"): "waits",
    ("record", "_write_all", "_pause"): "waits",
    ("adopt", "scan", "instance_dirs"): "reads names",
    ("adopt", "scan", "_make_way"): "closes an instance",
    ("adopt", "_make_way", "close"): "closes an instance",
    ("fs", "make_folders", "rmdir"): "removes empty folders, which the next attempt makes anew",
    ("fs", "check_locks_lock", "unlink"): "a file of its own, before anything is claimed",
    ("reject_file", "finish", "unlink"): "is repeated by the next attempt, as long as the shipment is not acknowledged",
    ("reject_file", "abort", "unlink"): "throws away what has no name yet, and cannot fail",
    ("shipment_pieces", "_segment", "anext"): "reads; the places are inside",
    ("shipment_pieces", "steps", "seek"): "reads",
    ("shipment_pieces", "_read_once", "work"): "reads; the places are inside",
    ("shipment_pieces", "_decoded", "run_in_executor"): "decodes, in memory",
    ("shipment_reader", "rows", "expected"): "waits",
}
"""What needs no failpoint, by module, function and call, and why."""
used: set[tuple[str, str, str]] = set()
"""Those of it that `effects` has met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An await or a durable call, and whether a failpoint is beside it."""

    what: str
    covered: bool


def effects() -> Iterator[Effect]:
    """Yield every await and every durable call between claim and settle."""
    functions = [
        (path.stem, node)
        for path in (*STAGES, *LANDING, *DISK)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    reaching = {node.name for _, node in functions if any(named_in(node))}
    # One step further: who does nothing durable itself, and calls one that is watched.
    reaching |= {node.name for _, node in functions if not any(_steps(node)) and _names(node) & reaching}
    for module, node in functions:
        found = sorted(_steps(node), key=lambda step: (step.lineno, step.col_offset))
        for number, step in enumerate(found):
            if not _called(step) & {"reach", "_transaction"}:
                beside = found[max(0, number - 1) : number + 2]
                covered = any(_called(other) & {"reach"} for other in beside) or bool(_names(step) & reaching)
                harmless = HARMLESS.keys() & {(module, node.name, name) for name in _names(step)}
                used.update(harmless)
                what = f"{module}.{node.name}, line {step.lineno}: {ast.unparse(step)[:80]}"
                yield Effect(what=what, covered=covered or bool(harmless))


def _steps(function: ast.AST) -> Iterator[ast.Await | ast.Call]:
    """Yield a function's awaits, durable calls and failpoints, not those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Await):
            if not _called(node.value) & WAITS:
                yield node
                continue
        elif (
            isinstance(node, ast.Call)
            and _called(node) & (DURABLE | {"reach", "_transaction"})
            and not ast.unparse(node).startswith(("replace(", "structs.replace("))
        ):
            yield node  # `replace` of a struct changes nothing
        yield from _steps(node)


def _called(node: ast.AST) -> set[str]:
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) | ast.Call(func=ast.Name(id=name)):
            return {name}
    return set()


def _names(node: ast.AST) -> set[str]:
    """Return every name that is called or handed on in a piece of code."""
    return {
        name
        for inner in ast.walk(node)
        for name in (getattr(inner, "attr", None), getattr(inner, "id", None))
        if isinstance(name, str)
    }
