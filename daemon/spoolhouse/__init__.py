"""Spoolhouse: JSONL files of observability events, landed in ClickHouse exactly once.

    arrivals ──► claim ──► decode (pool) ──► insert (pool) ──► settle
     paths       shipments    batches by table   acknowledged    processed/

`pipeline/` has one file a stage. `core/` is pure and says what an event, a row and a shipment are; `spool/` knows
folders, files and the journal; `schema/` renders and migrates tables; `store/` talks to ClickHouse; `landing/` knows
what ClickHouse has of a batch, and brings the rest; `replay/` sends once more what a person asks for.

`settings/` says what can be set, `configuration.py` where that comes from. `life.py` is the daemon from its settings to
its exit code: `startup.py` comes before the first claim, `stages.py` wires it all, `service.py` runs it. `http/` shows
what `figures.py` gathers, `check/` is the doctor, `export/` is what producers write with; `cli/` is the only place that
exits.
"""

__version__ = "0.1.0"
