"""The settings that go with every statement. Nothing that decides what lands is left to a user's profile."""

from collections.abc import Collection, Mapping

from spoolhouse.store.clickhouse.driver import ONE_BLOCK_ROWS, RowsInsert

Setting = str | int

_READ_SETTINGS: Mapping[str, Setting] = {
    # All of these are the server's defaults, so that a user who may only read (readonly = 1) may send them, too.
    "date_time_output_format": "simple",
    # Rows that are silently missing from an answer would be taken for rows that are missing from the table.
    "limit": 0,
    "offset": 0,
    "read_overflow_mode": "throw",
    "result_overflow_mode": "throw",
    "timeout_overflow_mode": "throw",
    "group_by_overflow_mode": "throw",
    "set_overflow_mode": "throw",
    "join_overflow_mode": "throw",
    "distinct_overflow_mode": "throw",
    # What an INSERT … SELECT gathers into one block is not cut up again.
    "use_strict_insert_block_limits": 0,
    # An old answer says nothing of what is there now.
    "use_query_cache": 0,
}

_INSERT_SETTINGS: Mapping[str, Setting] = {
    **_READ_SETTINGS,
    "session_timezone": "UTC",
    # An asynchronous insert mixes the batches of several clients, and a token stands for one batch.
    "async_insert": 0,
    "distributed_foreground_insert": 1,
    # An attempt whose connection broke may still be at work; it is not killed, the next one waits for its end.
    "replace_running_query": 0,
    # The token decides, on the table and on the targets of its views.
    "insert_deduplicate": 1,
    "deduplicate_insert": "enable",
    "deduplicate_insert_select": "force_enable",
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # One thread, one block: what is remembered is the token and the number of blocks that the rows came in.
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
    # A batch of many months is many partitions. Where a profile does not let it be raised, the batch is cut up.
    "max_partitions_per_insert_block": 0,
    # Half of the server's work otherwise; readers use FINAL anyway.
    "optimize_on_insert": 0,
    # A view that fails must be heard of: its rollup would lack the batch for good.
    "parallel_view_processing": 0,
    "materialized_views_ignore_errors": 0,
    "ignore_materialized_views_with_dropped_target_table": 0,
    # Values arrive as they were written, or not at all.
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

NAMES: tuple[str, ...] = tuple(sorted({*_INSERT_SETTINGS, "insert_deduplication_token"}))
"""Every setting that depends on the server: what to ask `system.settings` for."""

KNOWN_SQL = """\
SELECT name FROM system.settings WHERE name IN {names:Array(String)}
AND NOT (name = 'max_partitions_per_insert_block' AND (readonly OR isNotNull(min) OR isNotNull(max)))
SETTINGS limit = 0, offset = 0"""
"""Which of `NAMES` to send: an older server refuses a statement over a setting that it has never heard of, and any over
one that the user's profile does not leave to him; what can be done without is left out then."""


def for_insert(insert: RowsInsert, known: Collection[str]) -> dict[str, Setting]:
    """Return the settings of one insert, as far as the server knows them."""
    chosen = {**_INSERT_SETTINGS, "insert_deduplication_token": insert.token}
    return {name: value for name, value in chosen.items() if name in known}


def for_reading(known: Collection[str]) -> dict[str, Setting]:
    """Return the settings of any other statement, as far as the server knows them."""
    return {name: value for name, value in _READ_SETTINGS.items() if name in known}
