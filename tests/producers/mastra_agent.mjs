// A run of an agent that calls a tool: tracing events, a log, and the metrics that Mastra derives with their costs.
import './lib/fixed.mjs';
import { Agent } from '@mastra/core/agent';
import { createTool } from '@mastra/core/tools';
import { z } from 'zod';
import { calls, model, observed, says } from './lib/mastra.mjs';

const getWeather = createTool({
  id: 'get-weather',
  description: 'Tells the weather of a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }, context) => {
    context.loggerVNext.info('Asked the station', { city, attempt: 1 });
    return { city, celsius: 11.5 };
  },
});
const weather = new Agent({
  id: 'weather-agent',
  name: 'Weather',
  instructions: 'Answer in one sentence.',
  tools: { getWeather },
  model: model([calls('getWeather', { city: 'Zürich' }), says('It is 11.5 °C in Zürich.')]),
});
const mastra = observed({ agents: { weather } });

const stream = await mastra.getAgent('weather').stream('What is the weather in Zürich?', {
  modelSettings: { temperature: 0.2, maxOutputTokens: 200 },
  tracingOptions: { tags: ['canary'], metadata: { userId: 'u-7', sessionId: 's-3', plan: 'pro' } },
});
await stream.getFullOutput();
await mastra.observability.flush();
process.exit(0);
