-- What must be true of a request before anybody is asked about it. nginx.conf judges (its maps serve every location);
-- this says in which order, and with which status a request is refused.

local M = {}

-- The status with which to refuse, or nil.
function M.refuses(var)
    if var.mw_host == "0" then
        return 421
    elseif var.mw_method == "" then
        return 405
    elseif var.mw_canonical == "0" then
        return 400
    elseif var.mw_peer == "0" or var.mw_query_token ~= "" or var.mw_credential == "0" then
        return 401
    end
end

return M
