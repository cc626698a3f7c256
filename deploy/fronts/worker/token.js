// Bad tokens are refused at the edge (RFC 7519, RFC 8725), before anything is asked.
//
// Law: a check here can only refuse. Who the caller is and what that allows says the gate, which verifies the same token
// again. Keys are public; no token and no verdict outlives its request.

import { Refused } from "./errors.js";
import { keyOf } from "./keys.js";

export const RUN = ["x-run-identity", "x-run-proof", "proxy-authorization"];
const ALGORITHMS = {
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  RS384: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-384" },
  RS512: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-512" },
  PS256: { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 },
  PS384: { name: "RSA-PSS", hash: "SHA-384", saltLength: 48 },
  PS512: { name: "RSA-PSS", hash: "SHA-512", saltLength: 64 },
  ES256: { name: "ECDSA", hash: "SHA-256", namedCurve: "P-256" },
  ES384: { name: "ECDSA", hash: "SHA-384", namedCurve: "P-384" },
  ES512: { name: "ECDSA", hash: "SHA-512", namedCurve: "P-521" },
  EdDSA: { name: "Ed25519" },
};

export async function check(received, route, verifiers, ctx) {
  for (const name of ["authorization", ...RUN]) {
    // Several lines of one name arrive here joined by a comma, which stands in none of these credentials.
    if (received.get(name)?.includes(",")) throw new Refused(400, "duplicate_credentials");
  }
  const line = received.get("authorization");
  if (line === null) return;
  // A task says by these who calls; the gate alone has the keys of such tokens. Its Authorization may be the destination's.
  if (route.plane === "egress" && RUN.some((name) => received.has(name))) return;
  const match = /^Bearer +([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/i.exec(line);
  if (match === null) throw invalid("form");
  await verify(match, route.plane, verifiers, ctx);
}

async function verify([, head, body, signature], plane, { keys, issuers }, ctx) {
  const header = decoded(head);
  const claims = decoded(body);
  const issuer = typeof claims.iss === "string" ? issuers.get(claims.iss) : undefined;
  if (!issuer) throw invalid("issuer");
  // The list is the issuer's, of asymmetric algorithms: `none` and HS256 can be in none (RFC 8725 §3.1).
  if (typeof header.alg !== "string" || !issuer.algorithms.includes(header.alg) || !Object.hasOwn(ALGORITHMS, header.alg)) {
    throw invalid("algorithm");
  }
  if (Object.hasOwn(header, "crit") || Object.hasOwn(header, "b64")) throw invalid("crit");
  if (typeof header.kid !== "string" || header.kid.length > 256) throw invalid("kid");
  const wanted = Object.hasOwn(issuer.audiences, plane) ? issuer.audiences[plane] : [];
  const audiences = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
  if (!audiences.some((one) => typeof one === "string" && wanted.includes(one))) throw invalid("audience");
  // Written so that a NaN refuses.
  const now = Date.now() / 1000;
  if (!(typeof claims.exp === "number" && claims.exp > now - issuer.clock_skew)) throw invalid("expired");
  for (const name of ["nbf", "iat"]) {
    if (Object.hasOwn(claims, name) && !(typeof claims[name] === "number" && claims[name] <= now + issuer.clock_skew)) {
      throw invalid("not yet valid");
    }
  }
  if (!issuer.jwks_uri && !issuer.discovery) return; // its keys are in a file of the gate's: the gate verifies
  const algorithm = ALGORITHMS[header.alg];
  const key = await keyOf(issuer, header.kid, header.alg, algorithm, keys, ctx);
  if (key === null) throw invalid("unknown key");
  const signed = new TextEncoder().encode(`${head}.${body}`);
  if (!(await crypto.subtle.verify(algorithm, key, bytes(signature), signed))) throw invalid("signature");
}

// The caller learns one thing, whatever was wrong; the log has the word.
function invalid(why) {
  return new Refused(401, "invalid_token", { why: `token: ${why}`, challenge: 'Bearer error="invalid_token"' });
}

function decoded(part) {
  let value;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes(part)));
  } catch {
    throw invalid("form");
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw invalid("form");
  return value;
}

function bytes(part) {
  let text;
  try {
    text = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    throw invalid("form");
  }
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
