-- Which certificate is shown: that of the generation which the page names, parsed once by each worker.

local crowd = require "crowd"
local page = require "page"
local settings = require "settings"
local ssl = require "ngx.ssl"

local latest = {}

local function load(generation)
    local file = assert(io.open(settings.certificates .. "/web." .. generation .. ".pem", "rb"))
    local pem = file:read("*a")
    file:close()
    local chain, key = assert(ssl.parse_pem_cert(pem)), assert(ssl.parse_pem_priv_key(pem))
    return { generation = generation, chain = chain, key = key }
end

-- A throw, as any refusal, ends the handshake.
return function()
    if not crowd.handshake((assert(ssl.raw_client_addr()))) then
        return ngx.exit(ngx.ERROR)
    end
    local _, generation = page.read()
    if latest.generation ~= assert(generation, "nobody knows which certificate") then
        latest = load(generation)
    end
    assert(ssl.clear_certs())
    assert(ssl.set_cert(latest.chain))
    assert(ssl.set_priv_key(latest.key))
end
