"""What the edge's program is rendered from. No rule of a policy is in it: those come with each decision."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.names import LONGEST_SOCKET

_HOSTNAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII
)
_RATE = re.compile(r"[1-9][0-9]{0,5}r/[sm]", re.ASCII)
_PATH = re.compile(r"/[A-Za-z0-9._/@+,=~ -]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Everything that a reload is needed for. Raises MeshwardError (MW1202) for what cannot be an edge."""

    listen_host: str  # an IP address
    listen_port: int
    hostname: str  # lower case; the only `Host` that is served, with or without the port
    run_dir: str  # the edge's own directory, 0700: logs, temporary files, pid, cold.sock
    decision_socket: str  # the decision service's unix socket
    control_socket: str  # the instance's own unix socket for operators
    guard_socket: str  # path with `{slot}` for the two digits of a slot
    root_bundle: str  # PEM file with the mesh's root
    given_dir: str = (
        ""  # what it only reads: certificates, the page, the revoked, Lua; empty: they lie in `run_dir`
    )
    lua_modules: tuple[str, ...] = (
        "/usr/lib/nginx/modules/ndk_http_module.so",
        "/usr/lib/nginx/modules/ngx_http_lua_module.so",
    )  # in this order; none where nginx has Lua built in
    lua_path: str = "/usr/share/lua/5.1/?.lua"  # where the libraries are that came with the module
    rates: tuple[str, ...] = ()  # each that a decision may name, as `wire.rate_text` spells it
    slots: int = 64
    pools: int = 32  # of connections to guards elsewhere: one for each name, in a worker
    max_body: int = 2 * 1024 * 1024  # bytes; the largest of any model
    longest_timeout: int = 60  # seconds; the largest of any model
    workers: int = 1
    cold_rate: str = "100r/s"  # undecided requests per client address
    cold_burst: int = 200
    open_per_address: int = (
        200  # requests under way in a worker; times max_body, what an address can make it hold
    )
    handshake_rate: int = 500  # TLS handshakes of one address per second and worker: a quarter of a core
    handshake_burst: int = 2000
    held_per_address: int = 2000  # connections of one address to a worker, of the 16,384 that it can have
    refusals_told: int = 5  # of one identity in a second and worker, with a line each; the others are counted
    refusals_most: int = 200  # the same, before each is 429
    decision_room: int = 4 * 1024 * 1024  # bytes of remembered decisions in a worker, twice
    keepalive_min_timeout: bool = (
        False  # whether this nginx knows it (since 1.27.4): then a reload loses no request
    )
    max_headers: bool = True  # whether this nginx knows the directive (Debian 12 since 1.22.1-9+deb12u8)

    def __post_init__(self) -> None:
        ip_address(self.listen_host)
        paths = (
            self.run_dir,
            self.given,
            self.decision_socket,
            self.control_socket,
            self.guard_path(0),
            self.root_bundle,
            *self.lua_modules,
            self.lua_path.removesuffix("/?.lua"),
        )
        for path in paths:
            _demand(_PATH.fullmatch(path), f"`{path}` is no path that nginx can be told")
        for socket in (self.cold_socket, self.decision_socket, self.control_socket, self.guard_path(0)):
            _demand(
                len(socket) <= LONGEST_SOCKET, f"the socket path `{socket}` is over {LONGEST_SOCKET} bytes"
            )
        _demand(_HOSTNAME.fullmatch(self.hostname), f"`{self.hostname}` is no host name in lower case")
        for rate in (*self.rates, self.cold_rate):
            _demand(_RATE.fullmatch(rate), f"`{rate}` is no rate such as `10r/s` or `600r/m`")
        _demand(1 <= self.slots <= 100 and 1 <= self.workers <= 64, "slots are 1 to 100, workers 1 to 64")
        _demand(0 <= self.pools <= 100, "pools are 0 to 100")
        _demand(0 < self.open_per_address <= 65536, "requests under way per address are 1 to 65536")
        _demand(
            0 < self.handshake_rate <= self.handshake_burst <= 65536, "handshakes per address are 1 to 65536"
        )
        _demand(0 < self.held_per_address <= 16384, "connections per address are 1 to 16384")
        _demand(0 < self.refusals_told <= self.refusals_most <= 65536, "refusals per identity are 1 to 65536")
        _demand(65536 <= self.decision_room <= 1 << 30, "the room for decisions is 64 KiB to 1 GiB")
        _demand(0 < self.listen_port < 65536, f"`{self.listen_port}` is no port")
        _demand(
            0 < self.max_body <= 1 << 30 and 0 < self.longest_timeout <= 86400, "body or timeout out of range"
        )
        _demand("{slot}" in self.guard_socket, "the guard's socket path holds no `{slot}`")

    def guard_path(self, slot: int) -> str:
        return self.guard_socket.replace("{slot}", f"{slot:02d}")

    @property
    def given(self) -> str:
        return self.given_dir or self.run_dir

    def phase(self, name: str) -> str:
        """The Lua file that nginx runs in this phase of a request."""
        return f"{self.given}/lua/phases/{name}.lua"

    @property
    def log(self) -> str:
        """Which nginx opens for itself, and `lua/counted.lua` by its name."""
        return f"{self.run_dir}/access.log"

    @property
    def placeholder(self) -> str:
        """A certificate for nginx's file alone; which one is shown, `lua/handshake.lua` says."""
        return f"{self.given}/certs/none.pem"

    @property
    def cold_socket(self) -> str:
        """A killed nginx leaves it behind and the next one cannot start: remove it before a start."""
        return f"{self.run_dir}/cold.sock"


def _demand(fine: object, problem: str) -> None:
    if not fine:
        raise MeshwardError(codes.NO_EDGE_OF_NGINX, problem)
