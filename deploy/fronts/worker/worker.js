// The gate's Cloudflare Worker: one front before one Airflow, or before one destination of tasks.
//
// Law: what is asked about and what is forwarded are one string, made once. Only a 200 of the gate with a decision
// forwards anything; whatever fails here is a 503. Verdicts and tokens are never kept; keys and configuration are.
// Which headers cross is in headers.js, which `authz front worker` makes.
//
// Bindings: NAME (text), CONFIG (KV), GATE, GATE_1 … and UPSTREAM (anything with `fetch`), CLIENT (text, below).

import { routeOf, verifiersOf } from "./config.js";
import { Refused } from "./errors.js";
import * as headers from "./headers.js";
import { check, RUN } from "./token.js";

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?$/;
// Of the gate's refusals, what is the caller's business. Anything else says that the question was wrong.
const REFUSALS = new Set([400, 401, 403, 431, 503]);
const MOST_UNANNOUNCED = 8 * 2 ** 20;
const WITHOUT_A_BODY = new Set([204, 205, 304]);
const OF_THE_CONNECTION = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

export default {
  async fetch(request, env, ctx) {
    const line = { time: new Date().toISOString(), front: env.NAME, ray: (request.headers.get("cf-ray") ?? "").slice(0, 64) };
    let answer;
    try {
      answer = await answered(request, env, ctx, line);
    } catch (error) {
      // A bug or a failure: the text of an error may hold what a caller sent, so only its kind is logged.
      const refused = error instanceof Refused ? error : new Refused(503, "unavailable", { why: error?.name });
      line.why = refused.why || refused.error;
      answer = refused.response(line.decision);
    }
    line.status = answer.status;
    console.log(JSON.stringify(line));
    return answer;
  },
};

async function answered(request, env, ctx, line) {
  const route = await routeOf(env);
  const asked = question(request, route);
  const client = clientOf(request, env);
  Object.assign(line, { method: request.method, path: asked.pathname.slice(0, 1024), client });
  await check(request.headers, route, await verifiersOf(env), ctx);

  const verdict = await ask(request, env, route, asked, client);
  line.check = verdict.status;
  line.decision = verdict.headers.get(headers.DECISION) ?? "";
  if (verdict.status !== 200) return refusal(verdict);
  if (!/^[\x21-\x2b\x2d-\x7e]+$/.test(line.decision)) throw new Refused(503, "unavailable", { why: "no decision" });
  await verdict.body?.cancel();
  line.roles = verdict.headers.get(headers.ROLES) ?? "";
  return await forwarded(request, env, route, asked, client, verdict.headers, line.decision);
}

// What is asked about and forwarded, from the URL as the runtime's parser has written it.
function question(request, route) {
  if (!headers.METHODS.includes(request.method)) throw new Refused(405, "method_not_allowed");
  const host = request.headers.get("host") ?? "";
  let url;
  try {
    url = new URL(request.url);
  } catch {
    throw new Refused(400, "bad_request");
  }
  // A Host with a slash, a question mark or an @ would have moved the boundary between host and path.
  if (!HOST.test(host) || new URL(`https://${host}/`).host !== url.host) throw new Refused(400, "bad_request");
  // The parser rewrites dot segments, backslashes and what no path may hold. Where the caller's own spelling is still to be
  // seen here (in workerd it is), a path that is no longer the caller's is refused.
  const raw = request.url.slice(request.url.indexOf("/", url.protocol.length + 2)).replace(/[?#].*$/s, "");
  if (raw !== url.pathname) throw new Refused(400, "bad_request");
  if (url.protocol !== "https:") throw new Refused(400, "https_required");
  let bytes = 0;
  for (const [name, value] of request.headers) bytes += name.length + value.length + 4;
  if (bytes + url.href.length > route.header_bytes) throw new Refused(431, "head_too_large");
  const length = request.headers.get("content-length") ?? "0";
  if (!/^[0-9]{1,15}$/.test(length) || Number(length) > route.request_bytes) throw new Refused(413, "body_too_large");
  const empty = request.method === "GET" || request.method === "HEAD";
  if (empty && (Number(length) > 0 || request.headers.has("transfer-encoding"))) throw new Refused(400, "bad_request");
  if (route.plane === "inbound" && isExecution(url.pathname, route.base)) throw new Refused(404, "not_found");
  return { host: url.host, pathname: url.pathname, target: url.pathname + url.search };
}

// Airflow's task API is for workers, whatever the policy says.
function isExecution(pathname, base) {
  const path = pathname.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  if (!path.toLowerCase().startsWith(base.toLowerCase())) return false;
  return /^\/+execution(?:[^a-z0-9_-]|$)/i.test(path.slice(base.length));
}

// The caller's address. Cloudflare sets its header itself; workerd says who has connected, and any header is the caller's.
function clientOf(request, env) {
  if (env.CLIENT === "cf-connecting-ip") return request.headers.get("cf-connecting-ip") ?? "";
  const address = request.cf?.clientIp ?? "";
  return address.replace(/:[0-9]+$/, "").replace(/^\[(.*)\]$/, "$1");
}

async function ask(request, env, route, asked, client) {
  const said = new Headers();
  for (const name of route.plane === "egress" ? headers.READ_ON_EGRESS : headers.READ) {
    const value = request.headers.get(name);
    if (value !== null) said.set(name, value);
  }
  if (route.client_address && client) said.set(route.client_address, client);
  const url = `${route.gate_scheme}://${asked.host}/check/${route.name}${asked.target}`;
  const options = { method: request.method, headers: said, redirect: "manual", cache: "no-store" };
  // One deadline for all attempts, and for the body of a refusal.
  const signal = AbortSignal.timeout(route.wait_ms);
  const gates = Object.keys(env).filter((name) => /^GATE(?:_[0-9]+)?$/.test(name)).sort();
  const first = Math.floor(Math.random() * gates.length);
  for (let attempt = 0; attempt < gates.length; attempt++) {
    try {
      return await env[gates[(first + attempt) % gates.length]].fetch(url, { ...options, signal });
    } catch (error) {
      if (signal.aborted || attempt === gates.length - 1) {
        throw new Refused(503, "unavailable", { why: signal.aborted ? "the gate is too slow" : "the gate is away" });
      }
    }
  }
  throw new Refused(503, "unavailable", { why: "no gate is bound" });
}

async function refusal(verdict) {
  if (!REFUSALS.has(verdict.status)) {
    throw new Refused(503, "unavailable", { why: `the gate answered ${verdict.status}` });
  }
  const said = new Headers(verdict.headers);
  for (const name of [...OF_THE_CONNECTION, "content-length", ...headers.HIDDEN]) {
    if (name !== headers.DECISION) said.delete(name);
  }
  let body;
  try {
    body = await verdict.arrayBuffer();
  } catch {
    throw new Refused(503, "unavailable", { why: "the gate is too slow" });
  }
  return new Response(body, { status: verdict.status, headers: said });
}

async function forwarded(request, env, route, asked, client, verdict, decision) {
  const sent = crossing(request.headers, route);
  for (const name of headers.SET) {
    const value = verdict.get(name);
    if (value) sent.set(name, value);
  }
  sent.set("x-request-id", crypto.randomUUID());
  if (route.plane === "inbound") {
    sent.set("x-forwarded-proto", "https");
    if (client) sent.set("x-forwarded-for", client);
  }
  const body = await bodyOf(request, route);
  const waiting = new AbortController();
  const timer = setTimeout(() => waiting.abort(), route.idle_ms);
  const host = route.upstream_host || asked.host;
  let said;
  try {
    said = await env.UPSTREAM.fetch(`${route.upstream_scheme}://${host}${asked.target}`, {
      method: request.method,
      headers: sent,
      body,
      redirect: "manual",
      cache: "no-store",
      signal: waiting.signal,
    });
  } catch {
    throw new Refused(503, route.plane === "inbound" ? "airflow_unavailable" : "destination_unavailable");
  } finally {
    clearTimeout(timer);
  }
  if (said.status < 200 || said.webSocket) throw new Refused(503, "upgrade_refused");
  const answer = new Headers(said.headers);
  for (const name of headers.HIDDEN) answer.delete(name);
  answer.set(headers.DECISION, decision);
  const nothing = WITHOUT_A_BODY.has(said.status);
  if (nothing) await said.body?.cancel();
  return new Response(nothing ? null : said.body, { status: said.status, headers: answer });
}

// The caller's headers that go on. A name with `_` or `.` never does: a server may read it as the name with `-`.
function crossing(received, route) {
  const sent = new Headers();
  // A task's Authorization is the destination's only where another header said who calls; else it was for the gate.
  const keeps = route.keep_authorization && RUN.some((name) => received.has(name));
  for (const [name, value] of received) {
    if (!/^[a-z0-9-]+$/.test(name) || OF_THE_CONNECTION.includes(name)) continue;
    if (route.plane === "inbound") {
      if (headers.PASSED.includes(name)) sent.set(name, value);
      continue;
    }
    if ((keeps && name === "authorization") || !(headers.REMOVED.includes(name) || headers.FAMILIES.some((family) => name.startsWith(family)))) {
      sent.append(name, value);
    }
  }
  return sent;
}

// The body. An announced length has been compared before. Without one it is read whole first: workerd ends a stream that
// fails as if it were complete, and Airflow would act on half a body.
async function bodyOf(request, route) {
  if (!request.body || request.headers.has("content-length")) return request.body ?? undefined;
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > Math.min(route.request_bytes, MOST_UNANNOUNCED)) throw new Refused(413, "body_too_large");
    chunks.push(chunk);
  }
  return new Blob(chunks);
}
