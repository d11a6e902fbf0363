-- The request's body: in memory, within bounds, naming the model that was decided on, and digested as it goes on.

local body_model = require "body_model"
local digest = require "digest"
local problems = require "body_problems"
local semaphore = require "ngx.semaphore"

local read_body, get_body_data, get_body_file = ngx.req.read_body, ngx.req.get_body_data, ngx.req.get_body_file
local set_body_data, sleep = ngx.req.set_body_data, ngx.sleep
local SMALL = 16384 -- bytes that are read and hashed at once
local PATIENCE = 5 -- seconds after which a large body waits for no other

local free = semaphore.new(1)

local function pause()
    sleep(0)
end

local function keep_on()
end

-- Works on a large body when no other is worked on: each pauses often, but all of them in one round of the worker would
-- keep small requests waiting for as many stretches.
local function alone(work, ...)
    local mine = free:wait(PATIENCE)
    local fine, first, second, third = pcall(work, ...)
    if mine then
        free:post()
    end
    if not fine then
        error(first, 0)
    end
    return first, second, third
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
    local content_type = ngx.var.content_type or ""
    if #body <= SMALL then
        return body_model.find(body, content_type, pause)
    end
    return alone(body_model.find, body, content_type, pause)
end

-- `body` for a server that calls the model `called`: the model named between `from` and `to`.
function M.rename(body, from, to, called)
    local turn = #body > SMALL and pause or keep_on -- a copy, which is a stretch of its own, as the next one is
    turn()
    local renamed = body_model.put(body, from, to, called)
    turn()
    return renamed
end

-- `body` goes on in the place of the request's.
function M.replace(body)
    set_body_data(body)
end

function M.digest(body)
    if body == "" then
        return digest.EMPTY
    end
    return #body <= SMALL and digest.whole(body) or (alone(digest.large, body, pause))
end

-- What a client is told of a body that names no model, or more than one.
function M.sentence(problem)
    return problems[problem] or problems.absent
end

return M
