return {
    page = "/run/mw/edge/page",
    revoked = "/run/mw/edge/revoked",
    certificates = "/run/mw/edge/certs",
    rates = {  },
    slots = 2,
    open_per_address = 200,
    handshake_rate = 500,
    handshake_burst = 2000,
    room = 4194304,
}
