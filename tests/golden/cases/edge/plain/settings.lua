return {
    page = "/run/mw/edge/page",
    revoked = "/run/mw/edge/revoked",
    certificates = "/run/mw/edge/certs",
    rates = {  },
    slots = 2,
    open_per_address = 200,
    handshake_rate = 100,
    handshake_burst = 400,
    room = 4194304,
}
