"""Requests, records and filters say the same as the declarations of the tables."""

import pytest

from spoolhouse.events.declaration import Kind
from spoolhouse.query import requests
from spoolhouse.query.records import RECORDS, Record, columns_of
from spoolhouse.query.signals import LISTS, SIGNALS, VALUES

OWN = {"broken", "tool_calls"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_the_columns_of_its_table(name: str) -> None:
    [table] = {id(one.table): one.table for one in SIGNALS.values() if one.table.name == name}.values()
    assert {*RECORDS[name].__struct_fields__} - OWN == {*columns_of(table)}
    assert issubclass(RECORDS[name], Record)


@pytest.mark.parametrize("name", LISTS)
def test_a_request_has_the_filters_of_its_list(name: str) -> None:
    common = {*requests.ListQuestion.__struct_fields__}
    assert {*requests.LISTS[name].__struct_fields__} - common == {*LISTS[name].filters}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_names_columns_that_there_are(name: str) -> None:
    signal = SIGNALS[name]
    named = {
        signal.id, signal.labels, *signal.ids, *signal.payload, *signal.orders,
        *(column for column, _ in signal.filters.values()), *filter(None, [signal.measure]),
    }  # fmt: skip
    assert named <= {column.name for column in signal.table.columns}
    assert signal.table.column(signal.labels).kind is Kind.JSON
    if signal.failed:
        assert {*signal.failed} <= {*signal.table.column(signal.status).choices}


@pytest.mark.parametrize("what", VALUES)
def test_what_is_found_is_a_column(what: str) -> None:
    found = VALUES[what]
    names = {column.name for column in found.signal.table.columns}
    assert found.column in names or ((found.keys or found.by_key) and not found.column)
