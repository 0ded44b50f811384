"""The metrics in Prometheus's text format. Imported with the HTTP server alone: nothing else needs the library."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from spoolhouse.monitoring import metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Ours(Collector):
    def collect(self) -> Iterator[Metric]:
        for metric in metrics.ALL:
            family = Metric(metric.name.removesuffix("_total"), metric.documentation, metric.kind)
            for name, labels, value in metric.samples():
                family.add_sample(name, dict(labels), value)
            yield family


_REGISTRY = CollectorRegistry()
"""Not the library's global one, in which other code may have registered metrics."""
_REGISTRY.register(_Ours())
# The names that every Prometheus client uses: process_resident_memory_bytes, process_cpu_seconds_total and so on.
ProcessCollector(registry=_REGISTRY)


def text() -> bytes:
    """Return the present values of all metrics, and of those of the process, as text."""
    return generate_latest(_REGISTRY)
