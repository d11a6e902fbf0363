-- What a client gets that nothing passed for: the status, why, in which words, in the shape that its kind of client
-- prints.
-- luacheck: no max line length (sentences)

local counted = require "counted"
local settings = require "settings"

local byte, find, format = string.byte, string.find, string.format
local gsub, match, sub = string.gsub, string.match, string.sub
local var = ngx.var

-- By the status with which nginx comes to /_err/<status>: what the client gets, why, and in which words.
local OWN = {
    [400] = { 400, "not_canonical", "The request is not in canonical form: plain path segments of letters, digits and . _ ~ : @ - without escapes." },
    [401] = { 401, "token_malformed", "The Authorization header is not printable ASCII. Send Bearer and a token." },
    [404] = { 404, "route_unknown", "Nothing is served here. Models are under /m/NAME and, by the model in the body, under /v1/." },
    [405] = { 405, "method_not_allowed", "This method is not served here." },
    [408] = { 408, "client_timeout", "The request did not arrive in time." },
    [413] = { 413, "body_too_large", "The body is larger than any model here takes." },
    [414] = { 414, "target_too_long", "The request line is too long." },
    [415] = { 415, "coding_unsupported", "Bodies are taken as they are, in no Content-Encoding. Switch request compression off in the client." },
    [421] = { 421, "host_unknown", "This host is not served here. Use the host name of the gateway." },
    [429] = { 429, "rate_limited", "You sent more requests than your grant allows in this time. Wait, then try again." },
    [430] = { 429, "too_many_open", "Too many requests from your address are under way. Wait for some to end, then try again." },
    [494] = { 431, "headers_too_large", "The request headers are too many or too large." },
    [495] = { 401, "certificate_refused", "The client certificate was refused: it is not a current SVID of this trust domain. Send one, or none and a token." },
    [497] = { 400, "not_https", "This port speaks HTTPS only." },
    [501] = { 501, "coding_unknown", "This transfer coding is not served." },
    [503] = { 503, "decision_unavailable", "Nobody could decide about this request just now, so it was refused. Try again." },
}
OWN[505] = OWN[400]
local IN_QUERY = { 401, "token_in_query", "A token in the query ends in logs. Send it as Authorization: Bearer." }
local TOO_OFTEN = "You were refused more than %d times in this second, now for %s. Wait, then try again."
local EARLY = "Clock skew: the client certificate begins at %s, and by our clock it is %s UTC. See that NTP runs on both."
local BAD = { 400, "bad_request", "A request header is malformed, given twice, or asks for an upgrade." }
-- Nobody answered, or nobody who could prove the name that the version's guard has; by where the version is.
local NOBODY = {
    [""] = { "guard_unavailable", "The guard of this model did not answer. Try again." },
    far = { "guard_unavailable", "The guard of this model, on another machine, did not answer, or did not prove that it is this guard. Try again." },
    near = { "mesh_unavailable", "The sidecar through which this model is reached did not answer. Try again." },
}

local TYPES = { [401] = "authentication_error", [403] = "permission_error", [429] = "rate_limit_error" }

-- What nginx says of a certificate is OpenSSL's text; when it begins, the client's own.
local function of_certificate()
    if var.ssl_client_verify ~= "FAILED:certificate is not yet valid" then
        return OWN[495]
    end
    return { OWN[495][1], OWN[495][2], format(EARLY, var.ssl_client_v_start, ngx.utctime()) }
end

-- Status for the client, reason, message.
local function cause(code)
    if var.mw_reason ~= "" then
        return { code, var.mw_reason, var.mw_message }
    end
    if var.mw_sni ~= "" and (code == 500 or code == 502 or code == 503 or code == 504) then
        local nobody = NOBODY[var.mw_place]
        return { code == 500 and 502 or code, nobody[1], nobody[2] }
    end
    if code == 495 or code == 401 and var.mw_peer == "0" then
        return of_certificate()
    elseif code == 401 and var.mw_query_token ~= "" then
        return IN_QUERY
    elseif code == 400 and var.mw_canonical == "1" then
        return BAD
    end
    return OWN[code] or OWN[503]
end

local function quote(text)
    return '"' .. gsub(text, '[%c"\\\127-\255]', function(c)
        return format("\\u%04x", byte(c))
    end) .. '"'
end

-- RFC 6750 section 3, RFC 9728 section 5.1. The host is one of the gateway's own: that was checked before any token.
local function challenge()
    if var.mw_challenge ~= "" then
        return var.mw_challenge
    end
    return format('Bearer error="invalid_token", resource_metadata="https://%s/.well-known/oauth-protected-resource"', var.http_host or "")
end

-- Whole seconds until a bucket that refills at `<n>r/s` or `<n>r/m` has one more.
local function retry_after()
    local count, unit = match(var.mw_bucket ~= "" and var.mw_d_limit or "", "^(%d+)r/([sm])$")
    return unit == "m" and tostring(math.ceil(60 / tonumber(count))) or "1"
end

-- Why a known caller is refused in the end: nobody is more than so often. What is permitted never comes here.
local function limit(found)
    local refusal = counted.one_more()
    if not refusal then
        return found
    end
    if refusal.number > settings.refusals_most and found[1] < 500 and found[1] ~= 429 then
        var.mw_challenge = ""
        found = { 429, "too_many_refusals", format(TOO_OFTEN, settings.refusals_most, found[2]) }
    end
    counted.note(refusal, tostring(found[1]), found[2], "edge")
    return found
end

-- The same; what cannot be counted is refused all the same, and has its line.
local function limited(found)
    local fine, less = pcall(limit, found)
    return fine and less or found
end

local M = {}

-- The JSON that each family of clients prints: OpenAI's below /v1, a string `error` elsewhere.
function M.shape(status, layer)
    local message, reason, id = quote(var.mw_message), quote(var.mw_reason), quote(var.request_id)
    if var.mw_front == "v1" or find(var.mw_path .. "/", "/v1/", 1, true) == 1 then
        local kind = TYPES[status] or status < 500 and "invalid_request_error" or "server_error"
        return format('{"error":{"message":%s,"type":"%s","code":%s,"param":null},"request_id":%s,"layer":"%s"}', message, kind, reason, id, layer)
    end
    return format('{"error":%s,"error_type":%s,"request_id":%s,"layer":"%s"}', message, reason, id, layer)
end

-- The status of a refusal; sets everything else that /_err/ sends and the log wants.
function M.status()
    local found = cause(tonumber(sub(var.uri, 7)))
    local layer = (found[2] == "guard_unavailable" or found[2] == "mesh_unavailable") and "guard" or "edge"
    found = layer == "edge" and limited(found) or found
    local status = found[1]
    var.mw_reason, var.mw_message, var.mw_layer = found[2], found[3], layer
    if var.mw_path == "" and var.mw_canonical == "1" then
        var.mw_path = match(var.request_uri, "^[^?]*")
    end
    if status == 401 or status == 403 then
        var.mw_challenge = challenge()
    elseif status == 429 or status == 503 then
        var.mw_retry = retry_after()
    elseif status == 415 then
        var.mw_codings = "identity"
    end
    var.mw_body = M.shape(status, var.mw_layer) .. "\n"
    return tostring(status)
end

return M
