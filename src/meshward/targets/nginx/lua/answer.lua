-- An answer on its way to the client: digested piece by piece, and ended where its caller may have no more.

local clock = require "clock"
local digest = require "digest"
local endings = require "endings"

local arg, var = ngx.arg, ngx.var

local M = {}

local function digested(run, data, last)
    if last and not run.digest then
        var.mw_resd = data == "" and digest.EMPTY or digest.whole(data)
    elseif data ~= "" then
        run.digest = run.digest or digest.begin()
        digest.add(run.digest, data)
    end
end

-- No answer has a status below 200. Of one that nginx cannot read, as `HTTP/1.1 1000`, it makes an answer without a head
-- (to it, 9): what the model's server wrote would go on as it is, and none of its headers be hidden. A 101 that nobody
-- asked for would turn the connection over to that server.
local function demand_answer()
    if ngx.status < 200 then
        var.mw_reason = "model_answer_invalid"
        error("no answer", 0)
    end
end

local function cut(run, data, last)
    data, last = endings.cut(run, data, last)
    arg[1] = data
    if last then
        arg[2] = true
    else
        endings.sent(run, data)
    end
    digested(run, data, false)
end

-- nginx flushes before a first piece, and where the guard broke off: only then it knows how long that took. An answer
-- that was given up because its time was over is ended as one that still runs.
local function flushed(run)
    if var.upstream_response_time == "-" then
        return
    end
    local time = clock.now()
    run.why = run.why or endings.due(run, time) or endings.left(run, time)
    if run.why then
        run.left = true
        cut(run, "", true)
    end
end

-- One piece: `ngx.arg[1]` are its bytes, `ngx.arg[2]` whether it is the last. nginx has sent nothing before the first.
function M.piece()
    demand_answer()
    local data, last, run = arg[1], arg[2], ngx.ctx
    if data == "" and not last then
        return flushed(run)
    end
    if data ~= "" then -- else it is whole already
        local time = clock.now()
        run.why = run.why or endings.due(run, time)
        if run.why then
            return cut(run, data, last)
        end
        run.at = time
    end
    digested(run, data, last)
    if last then -- nginx itself says OK of a stream that was cut
        var.mw_last = "1"
    else
        endings.sent(run, data)
    end
end

-- When the request has ended, before its line is written: of an answer in pieces, also a cut one, the digest of what
-- was sent.
function M.ended()
    local run = ngx.ctx
    if run.digest then
        var.mw_resd = digest.finish(run.digest)
    end
end

return M
