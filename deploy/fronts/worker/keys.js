// The issuers' key sets (RFC 7517), for this isolate.
//
// Law: the last good keys stay while the provider is away, for `max_stale_ms`; then, and where there never were any, 503.
// An unknown key id causes at most one fetch for each issuer in `min_interval_ms`. One fetch at a time for an issuer:
// who needs its keys waits for it. Redirects are not followed, and what is fetched is bounded in time and size.

import { Refused } from "./errors.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];
const sets = new Map(); // by issuer and where its keys are: {keys, good, begun, pending}

export async function keyOf(issuer, kid, alg, algorithm, limits, ctx) {
  const place = JSON.stringify([issuer.issuer, issuer.jwks_uri, issuer.discovery]);
  let set = sets.get(place);
  if (!set) sets.set(place, (set = { keys: null, good: 0, begun: 0, pending: null }));
  const now = Date.now();
  if (now < set.good || now - set.good > limits.max_stale_ms) set.keys = null;
  if (set.keys === null) {
    await fetched(set, issuer, limits, ctx);
    if (set.keys === null) throw new Refused(503, "unavailable", { why: "no keys of the issuer" });
  } else if (!set.keys.has(kid)) {
    await fetched(set, issuer, limits, ctx);
  } else if (now - set.good > limits.refresh_ms) {
    ctx.waitUntil(fetched(set, issuer, limits, ctx)); // meanwhile the known key counts
  }
  const jwk = set.keys?.get(kid);
  return jwk ? await imported(jwk, alg, algorithm) : null;
}

// Wait for the fetch that is under way, or begin one if it is time. Never throws.
async function fetched(set, issuer, limits, ctx) {
  const now = Date.now();
  const late = now - set.begun > limits.timeout_ms + 1_000; // of a request that was cancelled, and its fetch with it
  if (set.pending === null || late) {
    if (now >= set.begun && now - set.begun < limits.min_interval_ms) return;
    set.begun = now;
    const mine = load(issuer, limits).then(
      (keys) => Object.assign(set, { keys, good: Date.now() }),
      () => console.error(JSON.stringify({ time: new Date().toISOString(), issuer: issuer.issuer, error: "no keys" })),
    ).finally(() => {
      if (set.pending === mine) set.pending = null;
    });
    set.pending = mine;
    ctx.waitUntil(mine);
  }
  // A promise of another request may never settle, so each waits by its own clock.
  let timer;
  await Promise.race([set.pending, new Promise((resolve) => (timer = setTimeout(resolve, limits.timeout_ms + 500)))]);
  clearTimeout(timer);
}

async function load(issuer, limits) {
  const signal = AbortSignal.timeout(limits.timeout_ms);
  let place = issuer.jwks_uri;
  if (issuer.discovery) {
    const known = await document(`${issuer.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, issuer, limits, signal);
    if (known.issuer !== issuer.issuer) throw new Error("another issuer");
    place = known.jwks_uri;
  }
  const { keys } = await document(place, issuer, limits, signal);
  const found = new Map();
  const twice = new Set();
  for (const jwk of Array.isArray(keys) ? keys.slice(0, 256) : []) {
    if (typeof jwk?.kid !== "string" || (jwk.use ?? "sig") !== "sig") continue;
    if (found.has(jwk.kid)) twice.add(jwk.kid);
    found.set(jwk.kid, jwk);
  }
  for (const kid of twice) found.delete(kid);
  if (found.size === 0) throw new Error("no keys");
  return found;
}

async function document(place, issuer, limits, signal) {
  const url = new URL(place);
  const plain = url.protocol === "http:" && (issuer.insecure_http || LOOPBACK.includes(url.hostname));
  if (url.protocol !== "https:" && !plain) throw new Error("not https");
  const said = await fetch(url, { redirect: "manual", cache: "no-store", signal, headers: { accept: "application/json" } });
  if (said.status !== 200 || !said.body) throw new Error("no document");
  const chunks = [];
  let bytes = 0;
  for await (const chunk of said.body) {
    bytes += chunk.byteLength;
    if (bytes > limits.max_bytes) throw new Error("too long");
    chunks.push(chunk);
  }
  return JSON.parse(await new Blob(chunks).text());
}

// The public key, if it is one for this very algorithm. `oct` never is.
async function imported(jwk, alg, algorithm) {
  if (Object.hasOwn(jwk, "alg") && jwk.alg !== alg) return null;
  let wanted;
  if (algorithm.name.startsWith("RSA")) {
    if (jwk.kty !== "RSA" || typeof jwk.n !== "string" || jwk.n.length < 342) return null; // 2048 bits
    wanted = { kty: "RSA", n: jwk.n, e: jwk.e };
  } else if (algorithm.name === "ECDSA") {
    if (jwk.kty !== "EC" || jwk.crv !== algorithm.namedCurve) return null;
    wanted = { kty: "EC", crv: jwk.crv, x: jwk.x, y: jwk.y };
  } else {
    if (jwk.kty !== "OKP" || jwk.crv !== "Ed25519") return null;
    wanted = { kty: "OKP", crv: jwk.crv, x: jwk.x };
  }
  try {
    return await crypto.subtle.importKey("jwk", wanted, algorithm, false, ["verify"]);
  } catch {
    return null;
  }
}
