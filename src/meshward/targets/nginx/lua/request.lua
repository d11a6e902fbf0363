-- A request for a model, in one handler before nginx passes it on: is it canonical, who may do what (remembered, or
-- asked), does its body name the model that was decided on, and which version answers. Values for nginx travel in its
-- variables. A throw is a 500, which refuses.

local body = require "body"
local clock = require "clock"
local crowd = require "crowd"
local decision = require "decision"
local decisions = require "decisions"
local gate = require "gate"
local key = require "key"
local overdue = require "overdue"
local page = require "page"
local pools = require "pools"
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

-- What takes its time is done once and kept in `work`, so that another attempt takes none: the body is read, of a request
-- that may last `seconds`,
local function read(work, seconds)
    work.mine = work.mine or overdue.enter(work.began)
    overdue.allow(work.mine, seconds)
    if not work.text then
        work.text = body.read()
    end
    return work.text or refuse(413, "body_too_large", body.sentence("in_pieces"))
end

-- its model is looked for (first and last byte, and the name; or nil and, in the place of the last byte, a problem),
local function find_model(work)
    if not work.to then
        work.from, work.to, work.name = body.model(work.text)
    end
    return work.from, work.to, work.name
end

-- that is replaced by the one that the server knows,
local function rename(work, called)
    if work.called ~= called then
        work.renamed, work.called = body.rename(work.text, work.from, work.to, called), called
    end
    return work.renamed
end

-- and what goes on is digested.
local function take_digest(work, sent)
    if work.sent ~= sent then
        work.sent, work.digest = sent, body.digest(sent)
    end
end

-- Below /v1/ the body says which model is meant, and is read once the caller is known: `who` is the answer about no
-- model. The decision about the body's model. What is refused here does not come back: ngx.exit ends the handler.
local function named(who, asked, work)
    if who.permit then
        error("a permit for no model", 0)
    end
    if who.facts == "" or who.status ~= 400 then
        return who
    end
    show(who)
    if coded() then
        return exit(415)
    end
    if find(lower(var.content_type or ""), "multipart", 1, true) then
        return refuse(400, "body_model_missing", body.sentence("form_at_v1"))
    end
    read(work, overdue.UNNAMED)
    local from, problem, name = find_model(work)
    if not from then
        return refuse(400, "body_model_missing", body.sentence(problem))
    end
    local full = key.about(asked, name)
    local d = decisions.known(full)
    if not d then
        local cut = target.cut(var.request_uri)
        cut.model = name
        var.mw_cache = "MISS"
        d = ask(full, cut)
    end
    return d
end

-- The body as it goes on: names the model that was decided on, in the server's own spelling. Below /m/ its model is
-- looked for only where the decision says which names it may have.
local function checked(d, version, work)
    local text = work.text
    if d.front == "m" and d.names and text ~= "" then
        local from, problem = find_model(work)
        if not from and problem ~= "absent" then
            return nil, "body_model_missing", body.sentence(problem)
        end
    end
    if work.from and d.names and not d.names[work.name] then
        return nil, "body_model_other", body.sentence("other")
    end
    if version.called and text ~= "" then
        if not work.from then
            return nil, "body_model_missing", body.sentence("needed")
        end
        if work.name ~= version.called then
            return rename(work, version.called)
        end
    end
    return text
end

-- nginx' variables for the guard, the limits and the log.
local function send(d, version, work, generation)
    if work.sent ~= work.text then
        body.replace(work.sent)
    end
    var.mw_bytes_in, var.mw_reqd = #work.sent, work.digest
    if d.limit ~= "" then
        var.mw_d_limit, var.mw_bucket = d.limit, d.bucket
    end
    local place = version.place
    var.mw_upstream, var.mw_host, var.mw_place = place.upstream or pools.of(place.name), place.host, place.kind
    var.mw_d_txn, var.mw_sni = d.token, version.name
    var.mw_generation = generation
    var.mw_target = d.before .. sub(var.request_uri, d.from)
end

-- Whether the request has been passed on. A body takes its time, to come and to be worked on, and what was decided
-- before may have ended meanwhile: that is asked last.
local function pass(d, epoch, work)
    show(d)
    if coded() then
        return exit(415)
    end
    local text = read(work, d.lasts)
    if #text > d.most then
        local sentence = format("This model takes at most %d bytes; the body has %d.", d.most, #text)
        return refuse(413, "body_too_large", sentence)
    end
    local version = decision.version(d, var.request_id)
    local sent, reason, message = checked(d, version, work)
    if sent then
        take_digest(work, sent)
    end
    local current, generation = page.again()
    if current ~= epoch or decisions.ended(d) then
        return false
    end
    if not sent then
        return refuse(400, reason, message)
    end
    local at = clock.now()
    if at >= work.mine.till then
        return refuse(408, "time_over", body.sentence("slow"))
    end
    local till = work.mine.till
    overdue.answered(work.mine)
    send(d, version, work, generation)
    ngx.ctx = { decision = d, epoch = epoch, tail = "", till = till, at = at, place = version.place }
    return true
end

-- One attempt, by what is decided under `epoch`. False: that is no longer so.
local function attempt(epoch, work)
    local asked, has_query = key.of_request(epoch)
    local d, refused = decide(asked, has_query)
    if not d then
        return exit(refused)
    end
    if d.front == "v1" then
        d = named(d, asked, work)
    end
    if not d.permit then
        return refuse_as(d)
    end
    return pass(d, epoch, work)
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
    local work = { began = clock.now() }
    for _ = 1, ATTEMPTS do
        if not epoch or attempt(epoch, work) then
            break
        end
        epoch = page.read()
    end
    if not ngx.ctx.decision then
        return exit(503)
    end
end
