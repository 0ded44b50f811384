"""Spoolhouse: JSONL files of observability events, landed in ClickHouse or DuckDB exactly once.

    arrivals ──► claim ──► decode (pool) ──► insert (pool) ──► settle
     paths       shipments    batches by table   acknowledged    processed/

From the top down, which is the direction of all imports:

- `cli/`: one module for each command; the only place that exits
- `service/`: the process: stages from settings, task groups, signals, reload
- `api/`: questions over HTTP
- `explorer/`: the page in a browser that asks them, and shows the daemon's status
- `doctor/`: checks of settings, spool and server
- `recover/`: rows, lines and files that are sent once more, on request
- `query/`: questions about what has landed: requests, plan, records (no SQL)
- `pipeline/`: one module for each stage, and what stages share
- `producer/`: `SpoolWriter`: events into the spool, whole files or none
- `store/`: ClickHouse: drivers, landing of batches, schema, SQL of questions
- `spool/`: folders, files, locks, the journal, shipments
- `settings/`: every setting, its default, its reason
- `monitoring/`: logs, metrics, health, status, HTTP
- `decode/`: lines to canonical rows or rejects (pure)
- `events/`: declarations of event types (pure)

`export/` is what other programs use, and the daemon does not. Beside the folders: `errors`, `retry`, `clock`,
`file_names`, and `failpoints`, the places that a test can arm.
"""

__version__ = "0.1.0"
