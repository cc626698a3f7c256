// Configuration from KV: `NAME.json`, this front's, and `issuers.json`, whose tokens count. `authz front worker` makes both.
//
// Law: a new text is used whole or not at all. While one cannot be read or is wrong, the last good one is used; without
// one, every request is a 503. An isolate reads again after `REREAD_SECONDS` (10).

import { Refused } from "./errors.js";

const DEADLINE_MS = 2_000;
const known = new Map(); // by key: {value, text, read}, for this isolate

export async function routeOf(env) {
  return await read(env, `${env.NAME}.json`, (value) => checkedRoute(value, env.NAME));
}

export async function verifiersOf(env) {
  return await read(env, "issuers.json", checkedIssuers);
}

async function read(env, key, checked) {
  const now = Date.now();
  const last = known.get(key);
  const every = Number(env.REREAD_SECONDS ?? 10) * 1000;
  if (last?.value && now >= last.read && now < last.read + every) return last.value;
  let why = "cannot be read";
  try {
    const text = await soon(env.CONFIG.get(key));
    if (text !== null) {
      if (last?.value && text === last.text) {
        last.read = now;
        return last.value;
      }
      why = "is wrong";
      const value = checked(JSON.parse(text));
      known.set(key, { value, text, read: now });
      return value;
    }
    why = "is not there";
  } catch {
    // said below
  }
  if (!last?.value) throw new Refused(503, "unavailable", { why: `${key} ${why}` });
  last.read = now;
  console.error(JSON.stringify({ time: new Date().toISOString(), front: env.NAME, config: key, error: `${key} ${why}` }));
  return last.value;
}

// KV that does not answer is KV that is away.
async function soon(reading) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("too slow")), DEADLINE_MS)));
  try {
    return await Promise.race([reading, late]);
  } finally {
    clearTimeout(timer);
  }
}

const TEXT = (value) => typeof value === "string" && value.length > 0 && value.length <= 1024;
const TEXTS = (value) => Array.isArray(value) && value.length > 0 && value.every(TEXT);
const FLAG = (value) => typeof value === "boolean";
const SCHEME = (value) => value === "http" || value === "https";
const number = (least, most) => (value) => Number.isInteger(value) && value >= least && value <= most;

const ROUTE = {
  version: number(1, 1),
  name: (value) => typeof value === "string" && /^[a-z0-9][a-z0-9_-]{0,63}$/.test(value),
  plane: (value) => value === "inbound" || value === "egress",
  base: (value) => typeof value === "string" && /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~-]+)*$/.test(value),
  gate_scheme: SCHEME,
  upstream_scheme: SCHEME,
  upstream_host: (value) => typeof value === "string" && /^(?:[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?)?$/.test(value),
  keep_authorization: FLAG,
  client_address: (value) => typeof value === "string" && /^[a-z0-9-]{0,64}$/.test(value),
  wait_ms: number(50, 120_000),
  idle_ms: number(1_000, 86_400_000),
  header_bytes: number(1_024, 1_048_576),
  request_bytes: number(0, 10 * 2 ** 40),
};

function checkedRoute(value, name) {
  const route = fields(value, ROUTE);
  if (route.name !== name) throw new Error("another name");
  return route;
}

const ISSUERS = { version: number(1, 1), keys: () => true, issuers: Array.isArray };
const KEYS = {
  refresh_ms: number(1_000, 86_400_000),
  min_interval_ms: number(100, 3_600_000),
  max_stale_ms: number(1_000, 30 * 86_400_000),
  timeout_ms: number(50, 60_000),
  max_bytes: number(256, 16 * 2 ** 20),
};
const ISSUER = {
  issuer: TEXT,
  audiences: (value) => Object.entries(value).every(([plane, all]) => ["inbound", "egress"].includes(plane) && TEXTS(all)),
  algorithms: TEXTS,
  clock_skew: number(0, 300),
  jwks_uri: (value) => typeof value === "string",
  discovery: FLAG,
  insecure_http: FLAG,
};

function checkedIssuers(value) {
  const { keys, issuers } = fields(value, ISSUERS);
  const found = new Map();
  for (const issuer of issuers.map((one) => fields(one, ISSUER))) {
    if (found.has(issuer.issuer)) throw new Error("twice");
    found.set(issuer.issuer, issuer);
  }
  return { keys: fields(keys, KEYS), issuers: found };
}

function fields(value, wanted) {
  if (value === null || typeof value !== "object") throw new Error("no object");
  for (const name of new Set([...Object.keys(value), ...Object.keys(wanted)])) {
    if (!Object.hasOwn(wanted, name) || !Object.hasOwn(value, name) || !wanted[name](value[name])) throw new Error(name);
  }
  return value;
}
