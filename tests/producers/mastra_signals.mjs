// What a program sends by hand: spans of its own with usage and a cost, logs of each level, metrics, scores, feedback.
import './lib/fixed.mjs';
import { MastraError } from '@mastra/core/error';
import { EntityType, SpanType } from '@mastra/core/observability';
import { RequestContext } from '@mastra/core/request-context';
import { observed } from './lib/mastra.mjs';

const mastra = observed({}, { requestContextKeys: ['tenant'], logging: { level: 'debug' } });
const instance = mastra.observability.getDefaultInstance();
const requestContext = new RequestContext([['tenant', 'acme']]);

const root = instance.startSpan({
  type: SpanType.GENERIC,
  name: 'nightly import',
  entityType: EntityType.AGENT,
  entityId: 'importer',
  entityName: 'Importer',
  input: { since: new Date('2026-03-13T00:00:00Z'), sizes: [1, 2.5, null] },
  metadata: { runId: 'run-0002', threadId: 't-1', empty: null, nested: { a: { b: [true] } } },
  tracingOptions: { tags: ['nightly', 'import'] },
  requestContext,
});
const generation = root.createChildSpan({
  type: SpanType.MODEL_GENERATION,
  name: "llm: 'claude-sonnet-4-5'",
  attributes: { model: 'claude-sonnet-4-5', provider: 'anthropic', streaming: true, parameters: { temperature: 0 } },
  input: { messages: [{ role: 'user', content: 'Sum it up.' }] },
});
generation.update({ attributes: { completionStartTime: new Date() } });
generation.end({
  attributes: {
    usage: {
      inputTokens: 1200,
      outputTokens: 80,
      inputDetails: { text: 200, cacheRead: 900, cacheWrite: 100 },
      outputDetails: { text: 80 },
    },
    costContext: { provider: 'anthropic', model: 'claude-sonnet-4-5', estimatedCost: 0.00315, costUnit: 'usd' },
    finishReason: 'stop',
    responseModel: 'claude-sonnet-4-5-20250929',
    responseId: 'msg_01Xq',
  },
  output: { text: 'All is well.' },
});
root.createChildSpan({
  type: SpanType.RAG_EMBEDDING,
  name: 'embed',
  attributes: { model: 'text-embedding-3-small', provider: 'openai', mode: 'ingest', dimensions: 1536, inputCount: 2 },
}).end({ attributes: { usage: { inputTokens: 64 } } });
root.createEventSpan({ type: SpanType.GENERIC, name: 'checkpoint', output: { row: 500 } });
const failed = root.createChildSpan({ type: SpanType.MCP_TOOL_CALL, name: 'mcp: read', attributes: { mcpServer: 'files' } });
failed.error({
  error: new MastraError({
    id: 'MCP_TOOL_FAILED',
    domain: 'MCP',
    category: 'THIRD_PARTY',
    text: 'The server hung up',
    details: { attempt: 3 },
  }),
  attributes: { success: false },
});
const log = instance.getLoggerContext(root);
log.debug('Read');
log.info('Imported', { rows: 500 });
log.warn('Slow', { ms: 812.25 });
log.error('One row was refused', { error: { name: 'RangeError', message: 'out of range' } });
log.fatal('Gave up');
const metrics = instance.getMetricsContext(root);
metrics.emit('rows_imported', 500, { table: 'orders' });
metrics.emit('cost', 0.5, undefined, { costContext: { provider: 'openai', model: 'o3', estimatedCost: 0.5, costUnit: 'usd' } });
root.end({ output: 'done' });

instance.getLoggerContext().info('No span is open');
instance.getMetricsContext().emit('free_bytes', 9_007_199_254_740_991);

const target = { traceId: root.traceId, correlationContext: root.getCorrelationContext() };
const { observability } = mastra;
await observability.addScore({
  ...target,
  spanId: generation.id,
  score: {
    scorerId: 'relevance',
    scorerName: 'Relevance',
    scorerVersion: '2',
    scoreSource: 'live',
    score: 0.875,
    reason: 'It answers what was asked.',
    targetEntityType: EntityType.AGENT,
    metadata: { judge: 'gpt-4o' },
  },
});
await observability.addScore({ ...target, score: { scorerId: 'length', score: 1 } });
await observability.addFeedback({
  ...target,
  feedback: { feedbackSource: 'user', feedbackType: 'thumbs', value: 'up', feedbackUserId: 'u-7', comment: 'Thanks' },
});
await observability.addFeedback({ ...target, spanId: generation.id, feedback: { feedbackType: 'rating', value: 4 } });
await observability.addFeedback({
  ...target,
  feedback: { source: 'qa', feedbackType: 'rating', value: 4.5, userId: 'u-9', sourceId: 'ticket-12', metadata: { round: 2 } },
});
await observability.flush();
process.exit(0);
