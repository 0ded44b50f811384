// A clock and ids that are the same in each run. Import it before the library that asks for them.
// Each reading of the clock is one millisecond after the last, so that what took time has a duration.
import crypto from 'node:crypto';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import path from 'node:path';

const RealDate = Date;
const started = RealDate.UTC(2026, 2, 14, 9, 26, 53, 589);
let now = started;
globalThis.Date = class Date extends RealDate {
  constructor(...given) {
    super(...(given.length ? given : [(now += 1)]));
  }

  static now() {
    return (now += 1);
  }
};
globalThis.performance.now = () => (now += 1) - started;

// Each script draws ids of its own, so that all the samples can be in one database.
let drawn = [...path.basename(process.argv[1])].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) | 0, 0x9e3779b9);
const random = () => {
  drawn ^= drawn << 13;
  drawn ^= drawn >>> 17;
  drawn ^= drawn << 5;
  return drawn & 0xff;
};
const fill = (bytes) => {
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).forEach((_, i, view) => {
    view[i] = random();
  });
  return bytes;
};
const randomUUID = () => {
  const bytes = fill(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return Buffer.from(bytes).toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
};
globalThis.crypto.getRandomValues = fill;
globalThis.crypto.randomUUID = randomUUID;
crypto.randomUUID = randomUUID;
crypto.randomBytes = (size) => fill(Buffer.alloc(size));
os.hostname = () => 'web-1';
syncBuiltinESMExports();
Object.defineProperty(process, 'pid', { value: 4242 });
Math.random = () => ((random() << 16) | (random() << 8) | random()) / 2 ** 24;

// A stack names the folder that the script happened to be in.
const prepare = Error.prepareStackTrace;
Error.prepareStackTrace = (error, sites) => {
  const lines = prepare ? prepare(error, sites) : `${error}\n${sites.map((site) => `    at ${site}`).join('\n')}`;
  return lines
    .replaceAll(`file://${process.cwd()}/`, 'file:///srv/app/')
    .replaceAll(`${process.cwd()}/`, '/srv/app/');
};
