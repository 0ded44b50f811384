"""Spoolhouse: JSONL files of observability events, landed in ClickHouse exactly once.

    arrivals ──► claim ──► decode (pool) ──► insert (pool) ──► settle
     paths       shipments    batches by table   acknowledged    processed/

`pipeline/` has one file a stage. `core/` is pure and says what an event, a row and a shipment are; `spool/` knows
folders, files and the journal; `schema/` renders and migrates tables; `store/` talks to ClickHouse; `export/` is what
producers write with. `stages.py` wires it all, `service.py` runs it; `cli/` is the only place that exits.
"""

__version__ = "0.1.0"
