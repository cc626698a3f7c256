// A certified OpenID provider (npm `oidc-provider`) set up as a company would: JWT access tokens with groups and a
// session id, refresh tokens, RP-initiated logout. For the browser tests only: anyone signs in as anyone with one click.
//
//   node server.js '{"port": 0, "gate": "https://airflow.test:8443", "callback": "/oauth2/callback", "people": […]}'
//
// It prints one line of JSON when it listens. `POST /control {"access_token_seconds": 2}` changes the life of the access
// tokens made from then on; `GET /control` tells how many tokens each grant type was given.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const settings = JSON.parse(process.argv[2]);
const people = new Map(settings.people.map((person) => [person.subject, person]));
const state = { access_token_seconds: 600, granted: {} };
const AUDIENCE = "airflow";
const RESOURCE = "urn:airflow";

const signing = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

function account(subject) {
  const person = people.get(subject);
  return person && { accountId: subject, claims: () => ({ sub: subject, ...claims(person) }) };
}

function claims(person) {
  return { preferred_username: person.login, name: person.name, groups: person.groups };
}

const configuration = {
  clients: [
    {
      client_id: "airflow-gate",
      client_secret: settings.secret,
      grant_types: ["authorization_code", "refresh_token"],
      redirect_uris: [settings.gate + settings.callback],
      post_logout_redirect_uris: settings.after_logout,
      ...(settings.backchannel && {
        backchannel_logout_uri: settings.backchannel,
        backchannel_logout_session_required: true, // puts the same `sid` into access tokens and logout tokens
      }),
    },
    {
      client_id: "airflow-cli", // `authz login`: a public client of people's machines (RFC 8252)
      application_type: "native",
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
      redirect_uris: ["http://127.0.0.1/callback"],
    },
  ],
  jwks: { keys: [{ ...signing, kid: "first", use: "sig", alg: "RS256" }] },
  cookies: { keys: ["not a secret: this provider lives as long as a test"] },
  findAccount: (_ctx, subject) => account(subject),
  claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"] },
  scopes: ["openid", "profile", "offline_access"],
  pkce: { required: () => true },
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed("refresh_token"),
  ttl: { Session: 3600, Grant: 3600, Interaction: 600, IdToken: 600, RefreshToken: 3600 },
  interactions: { url: (_ctx, interaction) => `/sign-in/${interaction.uid}` },
  loadExistingGrant: grantEverything,
  extraTokenClaims: (_ctx, token) => ({
    ...claims(people.get(token.accountId)),
    azp: token.clientId,
    sid: token.sid ?? token.sessionUid,
  }),
  // Its own fetch refuses to call this machine, where the gate is in these tests.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true, logoutSource: logoutPage },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: AUDIENCE,
        scope: "openid profile offline_access",
        accessTokenFormat: "jwt",
        accessTokenTTL: state.access_token_seconds,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
};

// Consent is not what these tests are about: whoever has signed in has agreed.
async function grantEverything(ctx) {
  const { provider, session, client, params } = ctx.oidc;
  const known = session.grantIdFor(client.clientId);
  const grant =
    (known && (await provider.Grant.find(known))) ??
    new provider.Grant({ accountId: session.accountId, clientId: client.clientId });
  grant.addOIDCScope(params.scope);
  grant.addResourceScope(RESOURCE, params.scope);
  await grant.save();
  return grant;
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

async function logoutPage(ctx, form) {
  ctx.body = page(
    "Sign out",
    `${form}<button autofocus type="submit" form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`,
  );
}

async function signInPage(ctx, uid) {
  await provider.interactionDetails(ctx.req, ctx.res);
  const buttons = [...people.values()].map(
    (person) => `<button name="login" value="${person.subject}">${person.name}</button>`,
  );
  ctx.type = "html";
  ctx.body = page("Sign in", `<form method="post" action="/sign-in/${uid}">${buttons.join("<br>")}</form>`);
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function control(ctx) {
  if (ctx.method === "POST") Object.assign(state, JSON.parse(await body(ctx.req)));
  ctx.body = state;
}

async function ownPages(ctx, next) {
  const uid = /^\/sign-in\/([\w-]+)$/.exec(ctx.path)?.[1];
  if (ctx.path === "/control") return control(ctx);
  if (!uid) return next();
  if (ctx.method === "GET") return signInPage(ctx, uid);
  const subject = new URLSearchParams(await body(ctx.req)).get("login");
  ctx.respond = false;
  // A native client needs a consent each time (RFC 8252 §8.6): others could pretend to be it.
  return provider.interactionFinished(ctx.req, ctx.res, { login: { accountId: subject }, consent: {} });
}

const server = createServer();
await new Promise((listening) => server.listen(settings.port, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, configuration);
provider.use(ownPages);
provider.on("grant.success", (ctx) => {
  const kind = ctx.oidc.params.grant_type;
  state.granted[kind] = (state.granted[kind] ?? 0) + 1;
});
provider.on("backchannel.error", (_ctx, error) => console.error(error));
provider.on("server_error", (_ctx, error) => console.error(error));
server.on("request", provider.callback());
console.log(JSON.stringify({ issuer }));
