-- An answer on its way to the client: digested piece by piece, and ended where its caller may have no more.

local digest = require "digest"
local endings = require "endings"

local arg, var = ngx.arg, ngx.var

local M = {}

local function digested(run, data, last)
    if data ~= "" then
        if last and not run.digest then
            var.mw_resd = digest.whole(data)
        else
            run.digest = run.digest or digest.begin()
            digest.add(run.digest, data)
        end
    end
    if last then -- nginx itself says OK of a stream that was cut
        run.whole = true
    end
end

-- One piece: `ngx.arg[1]` are its bytes, `ngx.arg[2]` whether it is the last.
function M.piece()
    local data, last = arg[1], arg[2]
    if data == "" and not last then
        return
    end
    local run = ngx.ctx
    run.why = run.why or endings.due(run)
    if run.why and (data ~= "" or not last) then -- else it is whole already
        data, last = endings.cut(run, data, last)
        arg[1] = data
        if last then
            arg[2] = true
            run.ended = true
        end
        digested(run, data, false)
        return
    end
    digested(run, data, last)
    if last then
        var.mw_last = "1"
    end
end

-- When the request has ended, before its line is written: of a cut answer the digest of what was sent.
function M.ended()
    local run = ngx.ctx
    if run.digest then
        var.mw_resd = digest.finish(run.digest)
    elseif run.whole and var.mw_resd == "" then
        var.mw_resd = digest.EMPTY
    end
end

return M
