// Mastra with an exporter that writes each event as it receives it, and a model that answers without a network.
import { Mastra } from '@mastra/core';
import { Observability } from '@mastra/observability';

const write = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

// The methods are the exporter's contract: having one is what subscribes to a signal.
const exporter = {
  name: 'jsonl',
  onTracingEvent: write,
  onLogEvent: write,
  onMetricEvent: write,
  onScoreEvent: write,
  onFeedbackEvent: write,
  exportTracingEvent: async (event) => write(event),
  flush: async () => {},
  shutdown: async () => {},
};

export const observed = (parts, config = {}) =>
  new Mastra({
    logger: false,
    environment: 'production',
    ...parts,
    observability: new Observability({
      configs: {
        default: { serviceName: 'weather', exporters: [exporter], logging: { level: 'info' }, ...config },
      },
    }),
  });

export const model = (answers, modelId = 'gpt-4o-mini') => ({
  specificationVersion: 'v2',
  provider: 'openai.chat',
  modelId,
  supportedUrls: {},
  doGenerate: async () => {
    throw new Error('only streams');
  },
  doStream: async () => {
    const parts = answers.shift();
    if (parts instanceof Error) throw parts;
    return { stream: ReadableStream.from(parts) };
  },
});

const usage = { inputTokens: 412, outputTokens: 37, totalTokens: 449, cachedInputTokens: 256, reasoningTokens: 12 };
const metadata = {
  type: 'response-metadata',
  id: 'chatcmpl-9pYq',
  modelId: 'gpt-4o-mini-2024-07-18',
  timestamp: new Date('2026-03-14T09:26:53Z'),
};

export const says = (text) => [
  { type: 'stream-start', warnings: [] },
  metadata,
  { type: 'text-start', id: '1' },
  { type: 'text-delta', id: '1', delta: text },
  { type: 'text-end', id: '1' },
  { type: 'finish', finishReason: 'stop', usage },
];

export const calls = (toolName, input) => [
  { type: 'stream-start', warnings: [] },
  metadata,
  { type: 'tool-call', toolCallId: 'call_4Zt1', toolName, input: JSON.stringify(input) },
  { type: 'finish', finishReason: 'tool-calls', usage },
];
