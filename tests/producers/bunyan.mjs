import './lib/fixed.mjs';
import bunyan from 'bunyan';

const log = bunyan.createLogger({ name: 'shop', level: 'trace', serializers: bunyan.stdSerializers });
log.trace('Looked up');
log.debug({ key: 'a:1', hit: false }, 'Read the cache');
log.info({ orderId: 17, price: 12.5 }, 'Ordered %s', 'a book');
log.warn('Slow');
log.error({ err: new RangeError('Out of range') }, 'Not paid');
log.fatal(new Error('The disk is full'));
log.child({ component: 'cart', trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: 'b7ad6b7169203331' }).info('In a child');
log.info({ tags: ['a', 'b'], user: null });
