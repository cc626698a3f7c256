-- Of Airflow's answer: without what it may not say, and with the decision. The gate's own answers stay as they are.
local hidden = {"server", "x-powered-by", "x-authz-assertion", "x-authz-client", "x-authz-dag", "x-authz-decision", "x-authz-destination-error", "x-authz-identity", "x-authz-issuer", "x-authz-roles", "x-authz-run", "x-authz-subject", "x-authz-task", "x-authz-user"}
local decision = lighty.r.req_env["X-AUTHZ-DECISION"]
if decision then
    for _, name in ipairs(hidden) do
        lighty.r.resp_header[name] = ""
    end
    lighty.r.resp_header["x-authz-decision"] = decision
end
return 0
