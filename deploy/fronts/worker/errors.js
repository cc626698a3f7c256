// What this Worker itself says to a caller.

import { DECISION } from "./headers.js";

export class Refused extends Error {
  // `why` is for the log alone: constant words, nothing that a caller sent.
  constructor(status, error, { why = "", challenge = "" } = {}) {
    super(error);
    Object.assign(this, { status, error, why, challenge });
  }

  response(decision) {
    const body = { error: this.error };
    const said = new Headers({ "content-type": "application/json", "cache-control": "no-store" });
    if (decision) {
      body.decision_id = decision;
      said.set(DECISION, decision);
    }
    if (this.challenge) said.set("www-authenticate", this.challenge);
    if (this.status === 405) said.set("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    return new Response(JSON.stringify(body), { status: this.status, headers: said });
  }
}
