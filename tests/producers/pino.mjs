import './lib/fixed.mjs';
import pino from 'pino';

const out = pino.destination({ fd: 1, sync: true });
const log = pino({ level: 'trace' }, out);
log.trace('Looked up');
log.debug({ key: 'a:1', hit: false }, 'Read the cache');
log.info({ req: { method: 'GET', url: '/orders?limit=10' }, responseTime: 12.5 }, 'request completed');
log.warn('Retry %d of %s', 2, 'three');
log.error(new RangeError('Out of range'));
log.fatal({ err: new Error('The disk is full'), device: '/dev/vda' }, 'Gave up');
log.child({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', module: 'orders' }).info('In a child');
log.info({ user: null, tags: ['a', 'b'], nested: { deep: { er: 1 } } });

// What its documentation shows to be changed most often: the level as a name, the time as text, other keys.
const labels = pino(
  {
    base: { service: 'shop' },
    messageKey: 'message',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  },
  out,
);
labels.info({ orderId: 981273498123 }, 'Ordered');
labels.error({ err: new Error('Refused') }, 'Not paid');
const epoch = pino({ timestamp: pino.stdTimeFunctions.unixTime, nestedKey: 'payload', customLevels: { notice: 35 } }, out);
epoch.notice({ items: 3 }, 'A level of our own');
