"""Telemetry of OpenTelemetry's SDK as OTLP/JSON: documents that the daemon reads as it reads those of others.

The protocol: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding. The standard library alone.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite, isnan
from typing import Any

from spoolhouse.producer.encoding import text

Json = dict[str, Any]
Group = tuple[str, Json, Json, Iterable[Json]]
"""The key of its records, the resource's fields, the scope's fields, the records."""

_MOST_BYTES = 512 << 10
_TIMES_REPEATED = 8
"""A reader repeats the resource in each row, and refuses a line that would become far larger by that."""
_REMOTE_KNOWN, _REMOTE = 0x100, 0x200
"""Flags of a span: whether its parent is of another process is known; it is."""

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def documents(kind: str, groups: Iterable[Group]) -> Iterator[bytes]:
    """Yield lines with all records: `kind` is `Spans`, `Logs` or `Metrics`."""
    for key, resource, scope, records in groups:
        head = _compact(resource)[:-1] + ("," if resource else "") + f'"scope{kind}":[' + _compact(scope)[:-1]
        head = f'{{"resource{kind}":[{head}{"," if scope else ""}"{key}":['
        batch: list[str] = []
        size = len(head)
        for record in records:
            one = _compact(record)
            if batch and (size > _MOST_BYTES or (len(batch) + 1) * len(head) > _TIMES_REPEATED * (size + len(one))):
                yield _closed(head, batch)
                batch, size = [], len(head)
            batch.append(one)
            size += len(one)
        if batch:
            yield _closed(head, batch)


def _closed(head: str, records: Sequence[str]) -> bytes:
    return f"{head}{','.join(records)}]}}]}}]}}".encode()


def resource_fields(resource: Any) -> Json:
    """Return the fields of a resource and its schema."""
    fields: Json = {"resource": {"attributes": attributes(resource.attributes)}}
    return fields | _present(schemaUrl=resource.schema_url)


def scope_fields(scope: Any) -> Json:
    """Return the fields of an instrumentation scope and its schema; `scope` may be None."""
    if scope is None:
        return {}
    about = _present(name=scope.name, version=scope.version, attributes=attributes(scope.attributes))
    return {"scope": about} | _present(schemaUrl=scope.schema_url)


def span(given: Any) -> Json:
    """Return a `ReadableSpan`."""
    context, parent, status = given.get_span_context(), given.parent, given.status
    fields: Json = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": text(given.name),
        "kind": given.kind.value + 1,  # the SDK counts from 0, the protocol from 1
        "startTimeUnixNano": str(given.start_time),
        "flags": _flags(parent),
    }
    if parent is not None:
        fields["parentSpanId"] = f"{parent.span_id:016x}"
    if status is not None:
        fields["status"] = {"code": status.status_code.value} | _present(message=status.description)
    return fields | _present(
        endTimeUnixNano=_whole(given.end_time),
        traceState=_trace_state(context.trace_state),
        attributes=attributes(given.attributes),
        events=[_event(one) for one in given.events],
        links=[_link(one) for one in given.links],
        droppedAttributesCount=given.dropped_attributes,
        droppedEventsCount=given.dropped_events,
        droppedLinksCount=given.dropped_links,
    )


def _event(given: Any) -> Json:
    return {"name": text(given.name), "timeUnixNano": str(given.timestamp)} | _present(
        attributes=attributes(given.attributes), droppedAttributesCount=given.dropped_attributes
    )


def _link(given: Any) -> Json:
    context = given.context
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "flags": _flags(context),
    } | _present(attributes=attributes(given.attributes), droppedAttributesCount=given.dropped_attributes)


def log(given: Any) -> Json:
    """Return a `ReadableLogRecord`."""
    record = given.log_record
    fields = _present(
        timeUnixNano=_whole(record.timestamp),
        observedTimeUnixNano=_whole(record.observed_timestamp),
        traceId=f"{record.trace_id:032x}" if record.trace_id else None,
        spanId=f"{record.span_id:016x}" if record.span_id else None,
        flags=int(record.trace_flags or 0),
        severityText=record.severity_text,
        attributes=attributes(record.attributes),
        droppedAttributesCount=given.dropped_attributes,
        eventName=record.event_name,
    )
    if record.severity_number is not None:
        fields["severityNumber"] = record.severity_number.value
    if record.body is not None:
        fields["body"] = _value(record.body)
    return fields


def metrics(given: Any) -> Iterator[Json]:
    """Yield a `Metric` for each of its data points: they may then be in several lines."""
    head = _present(name=given.name, description=given.description, unit=given.unit)
    data = given.data
    kind = type(data).__name__
    key = kind[0].lower() + kind[1:]
    shared: Json = {}
    if hasattr(data, "aggregation_temporality"):
        shared["aggregationTemporality"] = int(data.aggregation_temporality)
    if hasattr(data, "is_monotonic"):
        shared["isMonotonic"] = data.is_monotonic
    for point in data.data_points:
        yield {**head, key: {**shared, "dataPoints": [_point(point)]}}


def _point(given: Any) -> Json:
    fields: Json = {"timeUnixNano": str(given.time_unix_nano)} | _present(
        startTimeUnixNano=_whole(given.start_time_unix_nano),
        attributes=attributes(given.attributes),
        exemplars=[_exemplar(one) for one in given.exemplars or ()],
        flags=getattr(given, "flags", None),
    )
    if hasattr(given, "value"):
        return fields | _number(given.value)
    fields |= {"count": str(given.count), "sum": _double(given.sum)}
    fields |= {"min": _double(given.min), "max": _double(given.max)}
    if hasattr(given, "explicit_bounds"):
        fields["bucketCounts"] = [str(count) for count in given.bucket_counts]
        fields["explicitBounds"] = [_double(bound) for bound in given.explicit_bounds]
    else:
        fields |= _present(scale=given.scale, zeroCount=given.zero_count and str(given.zero_count))
        fields |= _present(positive=_buckets(given.positive), negative=_buckets(given.negative))
    return fields


def _buckets(given: Any) -> Json | None:
    if not given.bucket_counts:
        return None
    return {"bucketCounts": [str(count) for count in given.bucket_counts]} | _present(offset=given.offset)


def _exemplar(given: Any) -> Json:
    ids: Json = {}
    if given.span_id is not None and given.trace_id is not None:
        ids = {"traceId": f"{given.trace_id:032x}", "spanId": f"{given.span_id:016x}"}
    fields = {"timeUnixNano": str(given.time_unix_nano), **_number(given.value), **ids}
    return fields | _present(filteredAttributes=attributes(given.filtered_attributes))


def attributes(given: Mapping[str, Any] | None) -> list[Json]:
    """Return attributes as the protocol's list of pairs."""
    return [{"key": text(key), "value": _value(value)} for key, value in (given or {}).items()]


def _value(value: object) -> Json:
    match value:
        case None:
            found: Json = {}
        case str():
            found = {"stringValue": text(value)}
        case bool():
            found = {"boolValue": value}
        case int():
            found = {"intValue": str(value)}
        case float():
            found = {"doubleValue": _double(value)}
        case bytes():
            found = {"bytesValue": b64encode(value).decode()}
        case Mapping():
            found = {"kvlistValue": {"values": attributes(value)}}
        case Sequence():
            found = {"arrayValue": {"values": [_value(one) for one in value]}}
        case _:
            found = {"stringValue": text(value)}
    return found


def _number(value: float) -> Json:
    return {"asInt": str(value)} if isinstance(value, int) else {"asDouble": _double(value)}


def _double(value: float) -> float | str:
    """Return a number as the protocol writes it: NaN and infinities are text."""
    if isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _whole(value: int | None) -> str | None:
    return None if value is None else str(value)


def _flags(context: Any) -> int:
    return _REMOTE_KNOWN | (_REMOTE if context is not None and context.is_remote else 0)


def _trace_state(state: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in (state or {}).items())


def _present(**values: Any) -> Json:
    """Return the values that are there, by name: neither None nor empty nor 0."""
    return {name: text(value) if isinstance(value, str) else value for name, value in values.items() if value}
