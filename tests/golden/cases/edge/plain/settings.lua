return {
    page = "/run/mw/edge/page",
    revoked = "/run/mw/edge/revoked",
    certificates = "/run/mw/edge/certs",
    gate = {
        { variable = "mw_host", equal = true, literal = "0", status = 421 },
        { variable = "mw_method", equal = true, literal = "", status = 405 },
        { variable = "mw_canonical", equal = true, literal = "0", status = 400 },
        { variable = "mw_peer", equal = true, literal = "0", status = 401 },
        { variable = "mw_query_token", equal = false, literal = "", status = 401 },
        { variable = "mw_credential", equal = true, literal = "0", status = 401 },
    },
    rates = {  },
    slots = 2,
    open_per_address = 200,
    handshake_rate = 500,
    handshake_burst = 2000,
    room = 4194304,
}
