-- A request for a model, in one handler before nginx passes it on: is it canonical, who may do what (remembered, or
-- asked), does its body name the model that was decided on, and which version answers. Values for nginx travel in its
-- variables. A throw is a 500, which refuses.

local body = require "body"
local crowd = require "crowd"
local decision = require "decision"
local decisions = require "decisions"
local gate = require "gate"
local key = require "key"
local page = require "page"
local raw = require "raw"
local target = require "target"

local find, sub, lower, format = string.find, string.sub, string.lower, string.format
local exit, var, escape_uri = ngx.exit, ngx.var, ngx.escape_uri
local ATTEMPTS = 3 -- the first has waited for the body, so the others take no time

local function refuse(status, reason, message)
    var.mw_reason, var.mw_message = reason, message
    return exit(status)
end

local function show(d)
    var.mw_front, var.mw_model, var.mw_path, var.mw_facts = d.front, d.model, d.path, d.facts
end

-- Asks about a request that passed the gate. The decision then knows how its target was cut.
local function ask(name, cut)
    local model = escape_uri(cut.model)
    var.mw_front, var.mw_model, var.mw_path = cut.front, model, cut.path
    local d = decisions.ask(name, #model + #cut.path)
    d.front, d.model, d.path, d.before, d.from = cut.front, model, cut.path, cut.before, cut.from
    return d
end

-- The decision of that name: remembered, or asked for. nil and a status where the gate refuses.
local function decide(name, has_query)
    local d = decisions.known(name)
    if d then
        var.mw_cache = "HIT"
        if not has_query then
            return d
        end
    end
    local refused = gate.refuses(var)
    if refused then
        return nil, refused
    end
    if not d then
        var.mw_cache = "MISS"
        d = ask(name, target.cut(var.request_uri))
    end
    return d
end

local function refuse_as(d)
    show(d)
    var.mw_challenge = d.challenge or ""
    return refuse(d.status, d.reason, d.message)
end

-- Also where it says `identity`, which no body needs: of two such headers nginx may know only the first.
local function coded()
    return raw.has("http_content_encoding")
end

-- Below /v1/ the body says which model is meant, and is read once the caller is known: `who` is the answer about no
-- model. The decision about the body's model, and where the body names it; or what to refuse with.
local function named(who, asked)
    if who.permit then
        error("a permit for no model", 0)
    end
    if who.facts == "" or who.status ~= 400 then
        return who
    end
    show(who)
    if coded() then
        return nil, exit(415)
    end
    if find(lower(var.content_type or ""), "multipart", 1, true) then
        return nil, refuse(400, "body_model_missing", body.sentence("form_at_v1"))
    end
    local text = body.read()
    if not text then
        return nil, refuse(413, "body_too_large", body.sentence("in_pieces"))
    end
    local from, to, name = body.model(text)
    if not from then
        return nil, refuse(400, "body_model_missing", body.sentence(to))
    end
    local full = key.about(asked, name)
    local d = decisions.known(full)
    if not d then
        local cut = target.cut(var.request_uri)
        cut.model = name
        var.mw_cache = "MISS"
        d = ask(full, cut)
    end
    return d, text, from, to, name
end

-- Where the body names its model. Below /m/ that is looked at only where the decision says which names it may have.
local function named_at(d, text, from, to, name)
    if d.front == "m" and d.names and text ~= "" then
        return body.model(text)
    end
    return from, to, name
end

-- The body as it goes on: names the model that was decided on, in the server's own spelling.
local function checked(d, version, text, from, to, name)
    if not from and to and to ~= "absent" then
        return nil, "body_model_missing", body.sentence(to)
    end
    if from and d.names and not d.names[name] then
        return nil, "body_model_other", body.sentence("other")
    end
    if version.called and text ~= "" then
        if not from then
            return nil, "body_model_missing", body.sentence("needed")
        end
        if name ~= version.called then
            return body.rename(text, from, to, version.called)
        end
    end
    return text
end

-- nginx' variables for the guard, the limits and the log.
local function send(d, version, text, generation)
    var.mw_bytes_in, var.mw_reqd = #text, body.digest(text)
    if d.limit ~= "" then
        var.mw_d_limit, var.mw_bucket = d.limit, d.bucket
    end
    var.mw_d_txn, var.mw_upstream, var.mw_sni = d.token, version.upstream, version.name
    var.mw_generation = generation
    var.mw_target = d.before .. sub(var.request_uri, d.from)
end

-- Whether the request has been passed on: a body may take its time, to come and to be looked at, and what was decided
-- before may have ended meanwhile.
local function pass(d, epoch, text, from, to, name)
    show(d)
    if coded() then
        return exit(415)
    end
    text = text or body.read()
    if not text then
        return refuse(413, "body_too_large", body.sentence("in_pieces"))
    end
    if #text > d.most then
        local sentence = format("This model takes at most %d bytes; the body has %d.", d.most, #text)
        return refuse(413, "body_too_large", sentence)
    end
    from, to, name = named_at(d, text, from, to, name)
    local current, generation = page.read()
    if current ~= epoch or decisions.ended(d) then
        return false
    end
    local version = decision.version(d, var.request_id)
    local sent, reason, message = checked(d, version, text, from, to, name)
    if not sent then
        return refuse(400, reason, message)
    end
    send(d, version, sent, generation)
    ngx.ctx = { decision = d, epoch = epoch }
    return true
end

-- One attempt, by what is decided under `epoch`. False: that is no longer so.
local function attempt(epoch)
    local asked, has_query = key.of_request(epoch)
    local d, refused = decide(asked, has_query)
    if not d then
        return exit(refused)
    end
    local text, from, to, name
    if d.front == "v1" then
        d, text, from, to, name = named(d, asked)
        if not d then
            return true
        end
    end
    if not d.permit then
        return refuse_as(d)
    end
    return pass(d, epoch, text, from, to, name)
end

return function()
    local epoch = page.read()
    if not epoch then
        return exit(503)
    end
    local net = crowd.net()
    if not crowd.enter(net) then
        return exit(430)
    end
    var.mw_net = net
    if raw.has("http_upgrade") then -- a model's 101 would open a tunnel past every later check
        return exit(400)
    end
    for _ = 1, ATTEMPTS do
        if not epoch or attempt(epoch) then
            break
        end
        epoch = page.read()
    end
    if not ngx.ctx.decision then
        return exit(503)
    end
end
