"""The harness itself: two servers replicate as installed ones do."""

import uuid

from tests.engine import LocalServer


def test_replicas_share_rows_and_tokens(replicas: tuple[LocalServer, LocalServer]) -> None:
    first, second = replicas
    engine = "ReplicatedMergeTree('/tables/{uuid}', '{replica}')"
    path = uuid.uuid4().hex
    for server in replicas:
        server.query("CREATE DATABASE shared")
        server.query(
            f"CREATE TABLE shared.t (n UInt64) ENGINE = {engine.format(uuid=path, replica='{replica}')} ORDER BY n"
        )
    insert = "INSERT INTO shared.t SELECT number FROM numbers(1000)"
    second.query("SYSTEM STOP FETCHES shared.t")
    first.query(insert, insert_deduplication_token="token")
    first.kill()
    second.query("SYSTEM START FETCHES shared.t")
    # Its token is known to all, and its rows to nobody who is there.
    second.query(insert, insert_deduplication_token="token")
    assert second.query("SELECT count() FROM shared.t") == [(0,)]
    first.start()
    second.query("SYSTEM SYNC REPLICA shared.t LIGHTWEIGHT")
    for server in replicas:
        assert server.query("SELECT count(), sum(n) FROM shared.t") == [(1000, 499500)]
        server.query("DROP DATABASE shared SYNC")
