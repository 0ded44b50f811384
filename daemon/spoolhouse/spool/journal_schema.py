"""The journal's tables."""

FORMAT = 6
"""Journals of another format are refused. A released format is never changed: a later version converts from it."""
SCHEMA = """
CREATE TABLE file (
    number INTEGER PRIMARY KEY, type TEXT NOT NULL, project BLOB NOT NULL, name BLOB NOT NULL,
    device INTEGER NOT NULL, inode INTEGER NOT NULL, planned_to INTEGER NOT NULL, claimed_ms INTEGER NOT NULL,
    state TEXT NOT NULL, target BLOB, watch_until_ms INTEGER NOT NULL, stats TEXT NOT NULL
) STRICT;
CREATE TABLE shipment (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, type TEXT NOT NULL, clock_ms INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, limits TEXT NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE TABLE segment (
    shipment TEXT NOT NULL REFERENCES shipment (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    file INTEGER NOT NULL REFERENCES file (number), start INTEGER NOT NULL, end INTEGER NOT NULL,
    readable INTEGER, failure TEXT,
    PRIMARY KEY (shipment, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX segment_file ON segment (file);
CREATE TABLE part (
    batch TEXT NOT NULL, first INTEGER NOT NULL, end INTEGER NOT NULL, refusal TEXT NOT NULL,
    follows INTEGER NOT NULL,
    shipment TEXT NOT NULL REFERENCES shipment (id) ON DELETE CASCADE, PRIMARY KEY (batch, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_shipment ON part (shipment);
CREATE TABLE commits (count INTEGER NOT NULL) STRICT;
INSERT INTO commits VALUES (0);
CREATE TABLE round (
    shipment TEXT NOT NULL REFERENCES shipment (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    segment INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (shipment, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE entry (number INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL) STRICT;
"""
