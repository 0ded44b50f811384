// Traces and logs of OpenTelemetry's JavaScript SDK, as its JSON serializers write them: one line a batch.
import './lib/fixed.mjs';
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { JsonLogsSerializer, JsonMetricsSerializer, JsonTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';

const resource = resourceFromAttributes({ 'service.name': 'shop', 'service.version': '1.4.2', 'host.cpus': 8 });
const print = (bytes) => process.stdout.write(`${new TextDecoder().decode(bytes)}\n`);

const spans = new InMemorySpanExporter();
const tracer = new TracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor({ exporter: spans })] }).getTracer('shop', '1.0');
const root = tracer.startSpan('GET /orders', {
  kind: SpanKind.SERVER,
  attributes: { 'http.response.status_code': 200, ratio: 0.25, large: 2 ** 53, tags: ['a', 'b'], cached: false },
});
const inside = trace.setSpan(ROOT_CONTEXT, root);
const chat = tracer.startSpan(
  'chat gpt-4o-mini',
  {
    kind: SpanKind.CLIENT,
    attributes: {
      'gen_ai.operation.name': 'chat',
      'gen_ai.system': 'openai',
      'gen_ai.request.model': 'gpt-4o-mini',
      'gen_ai.usage.input_tokens': 412,
      'gen_ai.usage.output_tokens': 37,
    },
    links: [{ context: root.spanContext(), attributes: { why: 'retry' } }],
  },
  inside,
);
chat.addEvent('first token', { n: 1 });
chat.recordException(new RangeError('out of range'));
chat.setStatus({ code: SpanStatusCode.ERROR, message: 'out of range' });
chat.end();
root.end();
print(JsonTraceSerializer.serializeRequest(spans.getFinishedSpans()));

const logs = new InMemoryLogRecordExporter();
const logger = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter: logs })] }).getLogger('shop');
logger.emit({ severityNumber: 9, severityText: 'INFO', body: 'ordered', attributes: { order_id: 17, nested: { a: [1, null] } }, context: inside });
logger.emit({ severityNumber: 17, body: { message: 'a dictionary', n: 1.5 }, timestamp: new Date() });
logger.emit({ body: 'nobody says how severe', eventName: 'session.start' });
print(JsonLogsSerializer.serializeRequest(logs.getFinishedLogRecords()));

const metrics = new InMemoryMetricExporter(AggregationTemporality.DELTA);
const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 1e8, exportTimeoutMillis: 1e3 });
const meter = new MeterProvider({ resource, readers: [reader] }).getMeter('shop');
meter.createCounter('orders', { unit: '{order}' }).add(3, { kind: 'book' });
meter.createUpDownCounter('orders.open').add(-1.5);
meter.createHistogram('duration', { unit: 's', advice: { explicitBucketBoundaries: [0.1, 1] } }).record(0.25);
meter.createObservableGauge('cpu').addCallback((result) => result.observe(0.5, { cpu: 0 }));
await reader.forceFlush();
print(JsonMetricsSerializer.serializeRequest(metrics.getMetrics()[0]));
process.exit(0);
