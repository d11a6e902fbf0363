"""The processes of an instance: what each is started with, as whom, and when it counts as ready."""

from __future__ import annotations

import grp
import pwd
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshward.kit.foreign import Holder
from meshward.kit.hop_socket import Listener
from meshward.runtime.place.components import Components
from meshward.runtime.place.directories import Run, State
from meshward.runtime.place.identities import ProcessIdentity
from meshward.runtime.place.seal import sealed_command
from meshward.runtime.supervise.process import ProcessSpec, Ready
from meshward.runtime.supervise.ready import http_ok, socket_accepts, tls_accepts
from meshward.targets.envoy.files import command as guard_command

CONNECT = 0o2710  # the owner's; its group may pass. A socket made in it belongs to that group
# One thread for linear algebra: the model servers share the machine with everything else.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program that comes with meshward; `sealed` ones run in their guard's namespace.

    `equip` writes what it reads, for the identity that it runs as.
    """

    name: str
    arguments: tuple[str, ...]
    ready: Ready
    sealed: bool = False
    equip: Callable[[ProcessIdentity], None] = lambda _: None

    @property
    def module(self) -> str:
        return self.arguments[0]

    @property
    def argv(self) -> tuple[str, ...]:
        return (sys.executable, "-m", *self.arguments)


@dataclass(frozen=True, slots=True)
class Layout:
    """What all parts share: where, with which binaries, and who each one is."""

    state: State
    run: Run
    components: Components
    identities: Mapping[str, ProcessIdentity]


def holder_of(part: ProcessIdentity, client: ProcessIdentity | None = None) -> Holder:
    """Whose the part's own directory is. The group of `client` may pass it, to a socket whose name it knows."""
    return Holder(part.uid, part.gid) if client is None else Holder(part.uid, client.gid, CONNECT)


def python_part(
    layout: Layout, program: Program, depends_on: Sequence[str] = (), own: tuple[Path, Holder] | None = None
) -> ProcessSpec:
    """A part written in Python."""
    return ProcessSpec(
        name=program.name,
        argv=program.argv,
        identity=layout.identities[program.name],
        log=layout.state.log(program.name),
        ready=program.ready,
        env=_QUIET,
        stop_signal=signal.SIGTERM,
        takes_hup=program.name == "decide",
        depends_on=tuple(depends_on),
        own=own,
        says_why=True,
    )


def edge_part(layout: Layout, host: str, port: int, depends_on: Sequence[str]) -> ProcessSpec:
    """nginx. Its workers are its own to end: a killed master would leave them on the port."""
    directory, given = layout.run.edge_dir, layout.run.edge_given
    return ProcessSpec(
        name="edge",
        argv=nginx_command(layout, given / "nginx.conf"),
        identity=layout.identities["edge"],
        log=layout.state.log("edge"),
        ready=tls_accepts(host, port, given / "certs"),
        stop_signal=signal.SIGTERM,
        death_signal=signal.SIGTERM,
        own=(directory, holder_of(layout.identities["edge"])),
        depends_on=tuple(depends_on),
    )


def nginx_command(layout: Layout, program: Path) -> tuple[str, ...]:
    """Of root's nginx the workers are root's too, as is said of them: it would make them `nobody`, which takes
    capabilities and a number that not every root has, and could not read what it was given.
    """
    names = (pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name) if layout.identities["edge"].uid == 0 else ()
    user = ("-g", f"user {' '.join(names)};") if names else ()
    return (
        *(str(layout.components.nginx), "-p", str(layout.run.edge_dir), "-c", str(program)),
        *("-e", "stderr", *user),
    )


def guard_part(
    layout: Layout, name: str, slot: int, sealed: Program | None, depends_on: Sequence[str]
) -> ProcessSpec:
    """Envoy; with a sealed server both are one part, in a namespace that only the guard's socket leads into."""
    envoy = layout.components.envoy
    argv = guard_command(str(envoy), str(layout.run.guard_given(slot)))
    handed: tuple[Path, ...] = (envoy,)
    if sealed is not None:
        argv, handed = sealed_command(list(sealed.argv), argv), ()
    return ProcessSpec(
        name=name,
        argv=tuple(argv),
        identity=layout.identities[name],
        log=layout.state.log(name),
        ready=socket_accepts(layout.run.guard_socket(slot), layout.identities[name].uid),
        env=_QUIET if sealed else {},
        stop_signal=signal.SIGTERM,
        signal_group=sealed is not None,
        depends_on=tuple(depends_on),
        handed=handed,
        own=(layout.run.guard_dir(slot), holder_of(layout.identities[name], layout.identities["edge"])),
    )


def decision_program(run: Run, socket_gid: int, uid: int) -> Program:
    arguments = ("meshward.edge", "--dir", str(run.decide_given), "--socket-gid", str(socket_gid))
    paths = ("--socket", str(run.decide_socket), "--heartbeat", str(run.heartbeat))
    return Program("decide", (*arguments, *paths), http_ok("/healthz", Listener(run.decide_socket, uid)))


def collector_program(run: Run, state: State, ready: Ready) -> Program:
    return Program("collector", ("meshward.audit", "--run", str(run.path), "--state", str(state.path)), ready)
