"""The hosts of `clickhouse.url`, where there are several: do they answer, and do they hold the same tables."""

from collections.abc import AsyncIterator

from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import StoreError
from spoolhouse.service.prepare import open_servers
from spoolhouse.settings import Settings
from spoolhouse.store.clickhouse.replicas import Replicas
from spoolhouse.store.clickhouse.schema.render import Schema, holding_rows, materialized_views

SUBJECT = "hosts"


async def examine(settings: Settings, schema: Schema) -> AsyncIterator[Finding]:
    """Yield what is found; nothing where one host is named."""
    servers = open_servers(settings)
    try:
        if isinstance(servers, Replicas):
            async for finding in _examine(servers, schema):
                yield finding
    finally:
        await servers.close()


async def _examine(servers: Replicas, schema: Schema) -> AsyncIterator[Finding]:
    try:
        await servers.agree(holding_rows(schema), feeds=materialized_views(schema))
    except StoreError as error:
        why = "a batch that one of them has may not be sent to another, unless it is a replica"
        yield fault(SUBJECT, error.message, why=why, hint=error.hint or "see the message")
    else:
        yield good(SUBJECT, f"{', '.join(servers.present)}: replicas of the same tables")
    for name, silence in servers.away.items():
        why = "batches that may be on it wait for it, and so does all that was under way at a restart"
        yield warning(SUBJECT, f"{name} is away: {silence.message}", why=why, hint=silence.hint)
