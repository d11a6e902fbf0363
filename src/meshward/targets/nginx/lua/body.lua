-- The request's body: in memory, within bounds, naming the model that was decided on, and digested as it goes on.

local body_model = require "body_model"
local digest = require "digest"
local problems = require "body_problems"

local read_body, get_body_data, get_body_file = ngx.req.read_body, ngx.req.get_body_data, ngx.req.get_body_file
local set_body_data, sleep = ngx.req.set_body_data, ngx.sleep
local SMALL = 16384 -- bytes that are hashed at once

local function pause()
    sleep(0)
end

local function keep_on()
end

local M = {}

-- The whole body; "" where there is none; nil where its chunks were so small that nginx had no room for them in memory.
function M.read()
    read_body()
    local body = get_body_data()
    if not body and get_body_file() then
        return nil
    end
    return body or ""
end

-- Where `body` names its model: first and last byte, and the name. Else nil and a word that `problems` explains.
function M.model(body)
    return body_model.find(body, ngx.var.content_type or "", pause)
end

-- `body` for a server that calls the model `called`, set as the request's: the model named between `from` and `to`.
function M.rename(body, from, to, called)
    local turn = #body > SMALL and pause or keep_on -- two copies, each a stretch of its own
    turn()
    local renamed = body_model.put(body, from, to, called)
    turn()
    set_body_data(renamed)
    return renamed
end

function M.digest(body)
    if body == "" then
        return digest.EMPTY
    end
    return #body <= SMALL and digest.whole(body) or digest.large(body, pause)
end

-- What a client is told of a body that names no model, or more than one.
function M.sentence(problem)
    return problems[problem] or problems.absent
end

return M
