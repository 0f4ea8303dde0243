// memjs (binary; no cas, no multi-get) and memcached (text), by the first argument.
'use strict';

const readline = require('node:readline');
const path = require('node:path');

const modules = path.join(process.env.NODE_MODULES, path.sep);
const OPERATION_TIMEOUT_MS = 5000;

class Memjs {
  constructor(addresses) {
    const { Client } = require(`${modules}memjs`);
    this.client = Client.create(addresses, {
      failover: true,
      timeout: 5,
      logger: { log() {} },
      username: process.env.CLIENT_USER,
      password: process.env.CLIENT_PASSWORD,
    });
  }
  async get(key) { return (await this.client.get(key)).value; }
  set(key, exptime, value) { return this.client.set(key, value, { expires: exptime }); }
  add(key, exptime, value) { return this.client.add(key, value, { expires: exptime }); }
  replace(key, exptime, value) { return this.client.replace(key, value, { expires: exptime }); }
  // It takes "not stored" for an error.
  async append(key, value) {
    try {
      return await this.client.append(key, value);
    } catch (error) {
      if (error.message === 'MemJS APPEND: Item not stored') return false;
      throw error;
    }
  }
  delete(key) { return this.client.delete(key); }
  touch(key, exptime) { return this.client.touch(key, exptime); }
  async incr(key, delta) {
    const { success, value } = await this.client.increment(key, delta, {});
    return success ? String(value) : null;
  }
}

class Memcached {
  constructor(addresses) {
    const Client = require(`${modules}memcached`);
    // A server that fails once leaves the ring. By default it would get five tries of 30 s each,
    // and then be dead for five hours.
    this.client = new Client(addresses.split(','), { remove: true, failures: 0, retries: 0 });
    this.tokens = new Map();
  }
  call(method, ...args) {
    return new Promise((resolve, reject) => {
      this.client[method](...args, (error, result) => {
        if (error && !/^Item is not stored$/.test(error.message)) reject(error);
        else resolve(error ? false : result);
      });
    });
  }
  get(key) { return this.call('get', key); }
  set(key, exptime, value) { return this.call('set', key, value, exptime); }
  add(key, exptime, value) { return this.call('add', key, value, exptime); }
  replace(key, exptime, value) { return this.call('replace', key, value, exptime); }
  append(key, value) { return this.call('append', key, value); }
  delete(key) { return this.call('del', key); }
  touch(key, exptime) { return this.call('touch', key, exptime); }
  incr(key, delta) { return this.call('incr', key, delta); }
  mget(...keys) { return this.call('getMulti', keys); }
  async gets(key) {
    const result = await this.call('gets', key);
    if (!result) return null;
    this.tokens.set(key, result.cas);
    return result[key];
  }
  cas(key, exptime, value) { return this.call('cas', key, value, this.tokens.get(key), exptime); }
}

const Client = { memjs: Memjs, memcached: Memcached }[process.argv[2]];
const clients = new Map();

function render(result) {
  if (result === true) return 'ok';
  if (result === false || result === null || result === undefined) return 'no';
  if (Buffer.isBuffer(result) || typeof result !== 'object') return `value ${result}`;
  return `values${Object.entries(result).map(([key, value]) => ` ${key}=${value}`).join('')}`;
}

// Neither client answers a request that was under way when its connection was closed.
function withLimit(promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), OPERATION_TIMEOUT_MS);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

async function answer(line) {
  const [handle, verb, ...args] = line.split(' ');
  if (verb === 'open') {
    clients.set(handle, new Client(args[0]));
    return 'ok';
  }
  if (['set', 'add', 'replace', 'cas', 'touch', 'incr'].includes(verb)) args[1] = Number(args[1]);
  return render(await withLimit(clients.get(handle)[verb](...args)));
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const reply = await answer(line).catch((error) => `error ${error.message || error}`);
    process.stdout.write(`${reply.replaceAll('\n', ' ')}\n`);
  }
  process.exit(0);
})();
