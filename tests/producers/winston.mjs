import './lib/fixed.mjs';
import winston from 'winston';

const { combine, errors, json, splat, timestamp, ms } = winston.format;
const logger = (options) =>
  winston.createLogger({ level: 'silly', transports: [new winston.transports.Stream({ stream: process.stdout })], ...options });

const log = logger({ format: combine(errors({ stack: true }), splat(), timestamp(), json()), defaultMeta: { service: 'shop' } });
log.error('Not paid', { orderId: 17, trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: 'b7ad6b7169203331' });
log.warn('Slow', { durationMs: 812.25 });
log.info('Ordered %s', 'a book', { items: 1 });
log.http('GET /orders', { status: 200 });
log.verbose('Read the cache');
log.debug('Looked up');
log.silly('Ping');
log.error(new RangeError('Out of range'));
log.child({ requestId: 'r-1' }).info({ message: 'An object', nested: { a: [1, null] } });

const formatted = logger({ format: combine(timestamp({ format: 'YYYY-MM-DD HH:mm:ss.SSS' }), json()) });
formatted.info('Its time has a format and no zone');
const syslog = logger({
  levels: winston.config.syslog.levels,
  level: 'debug',
  format: combine(timestamp(), json()),
});
syslog.emerg('The disk is full');
syslog.alert('The disk is nearly full');
syslog.crit('Gave up');
syslog.notice('Started');
logger({ format: json() }).info('By default there is no time');
