// A workflow with a condition, two steps side by side, a sleep, and a step that fails.
import './lib/fixed.mjs';
import { createStep, createWorkflow } from '@mastra/core/workflows';
import { z } from 'zod';
import { observed } from './lib/mastra.mjs';

const any = z.any();
const step = (id, execute) => createStep({ id, description: `Does ${id}`, inputSchema: any, outputSchema: any, execute });
const fetchPage = step('fetch-page', async ({ inputData, loggerVNext, metrics }) => {
  loggerVNext.warn('The page is large', { bytes: 1_048_576, url: inputData.url });
  metrics.emit('page_bytes', 1_048_576, { kind: 'html' });
  return { size: 3 };
});
const summarize = step('summarize', async ({ inputData }) => ({ words: inputData.size * 10 }));
const translate = step('translate', async ({ inputData }) => ({ letters: inputData.size * 50 }));
const store = step('store', async () => {
  throw new Error('The disk is full');
});
const pages = createWorkflow({ id: 'pages', inputSchema: any, outputSchema: any })
  .then(fetchPage)
  .parallel([summarize, translate])
  .sleep(5)
  .branch([
    [async ({ inputData }) => inputData.summarize.words > 10, store],
    [async ({ inputData }) => inputData.summarize.words > 1000, translate],
  ])
  .commit();
const mastra = observed({ workflows: { pages } });

const run = await mastra.getWorkflow('pages').createRun({ runId: 'run-0001' });
await run.start({ inputData: { url: 'https://example.com/a?b=1' }, tracingOptions: { metadata: { userId: 'u-7' } } });
await mastra.observability.flush();
process.exit(0);
