"""The settings sent with each statement. A user's profile must not decide what lands."""

from collections.abc import Collection, Mapping

from spoolhouse.store.clickhouse.driver import ONE_BLOCK_ROWS, Parameter, RowsInsert, Setting

_READ_SETTINGS: Mapping[str, Setting] = {
    # All of these are the server's defaults, so that a read-only user (readonly = 1) may send them too.
    "date_time_output_format": "simple",
    # Rows that a limit cut from an answer would count as missing from the table.
    "limit": 0,
    "offset": 0,
    "read_overflow_mode": "throw",
    "result_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
    "group_by_overflow_mode": "throw",
    "set_overflow_mode": "throw",
    "join_overflow_mode": "throw",
    "distinct_overflow_mode": "throw",
    # The block that an INSERT … SELECT gathers is not split again.
    "use_strict_insert_block_limits": 0,
    # A cached answer says nothing about the present.
    "use_query_cache": 0,
}

_FOR_EACH: Mapping[str, Setting] = {
    **_READ_SETTINGS,
    # Figures that nobody reads here: to decode them takes half as long again as a small statement without them.
    "send_profile_events": 0,
}

_INSERT_SETTINGS: Mapping[str, Setting] = {
    **_FOR_EACH,
    "session_timezone": "UTC",
    # An asynchronous insert mixes the batches of several clients, and a token stands for one batch.
    "async_insert": 0,
    "distributed_foreground_insert": 1,
    # An attempt whose connection broke may still run; it is not killed, the next one waits for its end.
    "replace_running_query": 0,
    # The token decides, on the table and on the targets of its views.
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_insert_select": "force_enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One thread, one block: the server remembers the token and the number of source blocks.
    "max_insert_threads": 1,
    "max_threads": 1,
    "max_block_size": 65_536,
    "max_insert_block_size": ONE_BLOCK_ROWS,
    "max_insert_block_size_bytes": 0,
    "input_format_max_block_size_bytes": 0,
    "input_format_max_block_wait_ms": 0,
    "min_insert_block_size_rows": ONE_BLOCK_ROWS,
    "min_insert_block_size_bytes": 0,
    "min_insert_block_size_rows_for_materialized_views": ONE_BLOCK_ROWS,
    "min_insert_block_size_bytes_for_materialized_views": 0,
    "input_format_parallel_parsing": 0,
    # A batch of many months is many partitions. Where a profile forbids raising the limit, the batch is split.
    "max_partitions_per_insert_block": 0,
    # Collapsing is half of the server's work otherwise; readers use FINAL anyway.
    "optimize_on_insert": 0,
    # A failing view must fail the insert: its rollup would lack the batch for good.
    "parallel_view_processing": 0,
    "materialized_views_ignore_errors": 0,
    "ignore_materialized_views_with_dropped_target_table": 0,
    # Values arrive exactly as written, or not at all.
    "date_time_input_format": "best_effort",
    "precise_float_parsing": 1,
    "input_format_allow_errors_num": 0,
    "input_format_allow_errors_ratio": 0,
    "input_format_connection_handling": 0,
    "input_format_null_as_default": 0,
    "insert_null_as_default": 0,
    "input_format_json_compact_allow_variable_number_of_columns": 0,
    "input_format_json_read_arrays_as_strings": 0,
    "input_format_json_read_bools_as_numbers": 0,
    "input_format_json_read_bools_as_strings": 0,
    "input_format_json_read_numbers_as_strings": 0,
    "input_format_json_read_objects_as_strings": 0,
    "input_format_json_throw_on_bad_escape_sequence": 1,
}

OPTIONAL = frozenset(
    {
        "max_partitions_per_insert_block",
        "send_profile_events",
        # For questions of people.
        "readonly",
        "max_execution_time",
        "max_memory_usage",
        "max_result_rows",
        "max_result_bytes",
        "max_query_size",
        "cancel_http_readonly_queries_on_client_close",
        "do_not_merge_across_partitions_select_final",
        "use_skip_indexes_if_final",
        "use_skip_indexes_if_final_exact_mode",
    }
)
"""Settings that are left out where a profile limits them or makes them read-only."""

NAMES: tuple[str, ...] = tuple(sorted({*_INSERT_SETTINGS, "insert_deduplication_token", *OPTIONAL}))
"""All settings that depend on the server's version: the names to query in `system.settings`."""

KNOWN_SQL = """\
SELECT name FROM system.settings WHERE name IN {names:Array(String)}
AND NOT (has({optional:Array(String)}, name) AND (readonly OR isNotNull(min) OR isNotNull(max)))
SETTINGS limit = 0, offset = 0"""
"""Select the names of `NAMES` to send. An older server refuses a statement over an unknown setting, and any server over
one that the profile makes read-only; the optional ones are left out then."""
KNOWN_PARAMETERS: Mapping[str, Parameter] = {"names": NAMES, "optional": sorted(OPTIONAL)}


def for_insert(insert: RowsInsert, known: Collection[str]) -> dict[str, Setting]:
    """Return the settings of an insert that the server knows."""
    chosen = {**_INSERT_SETTINGS, "insert_deduplication_token": insert.token}
    return {name: value for name, value in chosen.items() if name in known}


_NEEDS = {"use_skip_indexes_if_final": "use_skip_indexes_if_final_exact_mode"}
"""A setting that gives right answers only together with another one, which older servers do not know."""


def for_reading(known: Collection[str], more: Mapping[str, Setting] | None = None) -> dict[str, Setting]:
    """Return the settings of any other statement, and `more`, that the server knows."""
    chosen = {**_FOR_EACH, **(more or {})}
    return {name: value for name, value in chosen.items() if name in known and _NEEDS.get(name, name) in known}
