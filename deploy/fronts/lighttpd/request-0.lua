-- Before the gate is asked: the caller's headers of the list, nothing else. After its allow: its headers too.
local passed = {["accept"] = true, ["accept-encoding"] = true, ["accept-language"] = true, ["access-control-request-headers"] = true, ["access-control-request-method"] = true, ["cache-control"] = true, ["connection"] = true, ["content-encoding"] = true, ["content-length"] = true, ["content-type"] = true, ["expect"] = true, ["host"] = true, ["if-match"] = true, ["if-modified-since"] = true, ["if-none-match"] = true, ["if-range"] = true, ["if-unmodified-since"] = true, ["origin"] = true, ["range"] = true, ["referer"] = true, ["traceparent"] = true, ["tracestate"] = true, ["transfer-encoding"] = true, ["user-agent"] = true, ["x-requested-with"] = true}
local asked = {["authorization"] = true}
local set = {["x-authz-subject"] = "X-AUTHZ-SUBJECT", ["x-authz-user"] = "X-AUTHZ-USER", ["x-authz-issuer"] = "X-AUTHZ-ISSUER", ["x-authz-client"] = "X-AUTHZ-CLIENT", ["x-authz-roles"] = "X-AUTHZ-ROLES", ["x-authz-dag"] = "X-AUTHZ-DAG", ["x-authz-run"] = "X-AUTHZ-RUN", ["x-authz-task"] = "X-AUTHZ-TASK", ["x-authz-identity"] = "X-AUTHZ-IDENTITY", ["x-authz-assertion"] = "X-AUTHZ-ASSERTION", ["x-authz-decision"] = "X-AUTHZ-DECISION"}
local request = lighty.r
local path = string.match(request.req_attr["request.orig-uri"], "^[^?]*")
if string.sub(path, 1, 1) ~= "/" then
    return 400
end
path = string.lower(lighty.c.urldec(path))
if string.find(path, "^/+execution$") or string.find(path, "^/+execution[^a-z0-9_-]") then
    return 404 -- Airflow's task API is for workers, whatever the policy says
end
local allowed = request.req_env["X-AUTHZ-DECISION"]
local names = {}
for name in pairs(request.req_header) do
    names[#names + 1] = name
end
for _, name in ipairs(names) do
    local lower = string.lower(name)
    if not (passed[lower] or (not allowed and asked[lower])) then
        request.req_header[name] = ""
    end
end
if allowed then
    for name, variable in pairs(set) do
        request.req_header[name] = request.req_env[variable] or ""
    end
end
return 0
