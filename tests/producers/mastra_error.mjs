// Two runs that fail: an agent whose model fails, and one whose tool does while the run itself succeeds.
import './lib/fixed.mjs';
import { Agent } from '@mastra/core/agent';
import { createTool } from '@mastra/core/tools';
import { z } from 'zod';
import { calls, model, observed, says } from './lib/mastra.mjs';

const getWeather = createTool({
  id: 'get-weather',
  description: 'Tells the weather of a city',
  inputSchema: z.object({ city: z.string() }),
  execute: async () => {
    throw new TypeError('No station answers');
  },
});
const agent = (id, answers) =>
  new Agent({ id, name: id, instructions: 'Answer.', tools: { getWeather }, model: model(answers), maxRetries: 0 });
const mastra = observed(
  {
    agents: {
      overloaded: agent('overloaded', [new Error('The model is overloaded')]),
      groping: agent('groping', [calls('getWeather', { city: 'Bern' }), says('I do not know.')]),
    },
  },
  { excludeSpanTypes: ['model_step', 'model_inference', 'model_chunk'] },
);

for (const name of ['overloaded', 'groping']) {
  try {
    await (await mastra.getAgent(name).stream('And in Bern?')).getFullOutput();
  } catch {
    // Its spans say so.
  }
}
await mastra.observability.flush();
process.exit(0);
