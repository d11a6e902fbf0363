"""Where an instance runs and who each of its parts is: what does not change from one revision to the next."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.foreign import hand_to, take
from meshward.plan.ir import Plan
from meshward.runtime.place import upstreams
from meshward.runtime.place.components import Components
from meshward.runtime.place.directories import Run, State
from meshward.runtime.place.identities import (
    CAPABILITIES,
    FIRST,
    LAST,
    Identities,
    ProcessIdentity,
    assign_identities,
    lacking,
    starter,
)
from meshward.runtime.place.instance_file import Guarded
from meshward.runtime.place.reachable import hindrance
from meshward.runtime.supervise.parts import Layout, Program, guard_part, holder_of
from meshward.runtime.supervise.process import ProcessSpec

_GIVE_CAPABILITIES = (
    "Start it with these capabilities and numbers, as containers have them unless they are taken, or as another user. "
    "`--allow-root-parts` starts all the same: then a hole in one of these parts is a hole in the machine."
)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a demo adds: servers that are started with the instance, by `<model>/<version>`, and further programs."""

    servers: Mapping[str, Program] = field(default_factory=dict)
    programs: Sequence[Program] = ()
    idp_url: str | None = None
    ports: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """Identities are assigned when a part is first spoken of, and kept in STATE for ever."""

    state: State
    run: Run
    components: Components
    extra: Extras
    sentence: str
    python: ProcessIdentity | None  # root, where it starts us and Python parts cannot have users of their own
    known: MutableMapping[str, ProcessIdentity] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.state, self.run, self.components, self.known)

    @property
    def edge(self) -> ProcessIdentity:
        return self._of("edge")

    @property
    def decide(self) -> ProcessIdentity:
        return self._of_python("decide")

    def of_program(self, program: Program) -> ProcessIdentity:
        return self._of_python(program.name)

    def guard(self, plan: Plan, key: str, slot: int) -> ProcessIdentity:
        """Who the guard of `key` in `slot` runs as. Raises MeshwardError (MW3013) if it may not reach its server."""
        program = self.extra.servers.get(key)
        upstreams.require_strangers(plan, key, self.run.path / "models", self.state.path, self.run.path)
        name = guard_name(key, slot)
        identity = self._of_python(name) if program and program.sealed else self._of(name)
        self.known[name] = upstreams.admit_guard(plan, key, identity, program is not None)
        return self.known[name]

    def guard_spec(self, key: str, slot: int) -> ProcessSpec:
        """How the guard is run. Call `guard` before."""
        program = self.extra.servers.get(key)
        sealed = program if program and program.sealed else None
        before = [program.name] if program and not program.sealed else []
        return guard_part(self.layout, guard_name(key, slot), slot, sealed, before)

    def describe_guard(self, plan: Plan, key: str, slot: int) -> Guarded:
        """What `status` says of it."""
        model, version = key.split("/")
        deployed = plan.version(model, version)
        program = self.extra.servers.get(key)
        found = upstreams.reach_of(plan, key, program is not None, program is not None and program.sealed)
        shared = self._shared_uid(key, slot)
        return Guarded(
            model=model,
            version=version,
            slot=f"{slot:02d}",
            dns_name=deployed.dns_name,
            socket=str(self.run.guard_socket(slot)),
            url=str(deployed.url),
            reach=_as_far_as(found.how, shared),
            weakest=str(found.url) if deployed.replicas else "",
            means=found.how,
            openers=found.openers,
            uid=shared,
        )

    def _shared_uid(self, key: str, slot: int) -> int | None:
        """The starter's uid, where guard or server have it too: its other processes get past the guard."""
        program = self.extra.servers.get(key)
        ours = [self._of(guard_name(key, slot))] + ([self.of_program(program)] if program else [])
        return starter().uid if any(each.uid == starter().uid for each in ours) else None

    def make_server_directory(self, key: str, slot: int) -> None:
        """A folder for the socket of a server that we start: the server's, and its guard's to pass."""
        program = self.extra.servers.get(key)
        if program is None:
            return
        take(self.run.path / "models", 0o711)
        guard = self.known[guard_name(key, slot)]
        owner = guard if program.sealed else self.of_program(program)
        directory = self.run.model_dir(*key.split("/"))
        hand_to(directory, holder_of(owner, guard))

    def _of(self, name: str) -> ProcessIdentity:
        if name not in self.known:
            self.known[name] = assign_identities(self.state, [name]).of(name)
        return self.known[name]

    def _of_python(self, name: str) -> ProcessIdentity:
        if self.python is not None:
            self.known[name] = self.python
        return self._of(name)


def machine(
    state: State, run: Run, components: Components, extra: Extras, *, root_parts: bool = False
) -> Machine:
    """This machine, whose parts run as users of their own, or all of them as the starter.

    Started by root, what cannot have a user of its own would run as root. Raises MeshwardError (MW3017) then, unless
    `root_parts` allows it.
    """
    programs = [*extra.programs, *extra.servers.values()]
    python = ["decide", *(program.name for program in programs)]
    assigned = assign_identities(state, ["edge", *python])
    known = {name: assigned.of(name) for name in ("edge", *python)}
    sentence, ours = assigned.sentence, None
    if os.geteuid() == 0 and (why := _why_as_root(assigned, known["decide"], components, programs)):
        who = ", ".join(python) if assigned.separate else "every part"
        if not root_parts:
            remedy = codes.ROOT_PARTS.remedy if assigned.separate else _GIVE_CAPABILITIES
            raise MeshwardError(codes.ROOT_PARTS, f"{who} would run as root: {why}", remedy)
        ours = starter()
        known |= dict.fromkeys(python, ours)
        sentence = f"--allow-root-parts: AS ROOT, and not isolated: {who}; {why}"
    known["collector"] = starter()  # it reads every hop's private log
    return Machine(state, run, components, extra, sentence, ours, known)


def _why_as_root(
    assigned: Identities, identity: ProcessIdentity, components: Components, programs: Sequence[Program]
) -> str:
    """Why parts of an instance that root starts would be root's too; empty: none would."""
    if not assigned.separate:
        return (
            "this root may not give them users of their own "
            f"(it needs {', '.join(CAPABILITIES)} and the uids {FIRST} to {LAST}; "
            f"it lacks {', '.join(lacking()) or 'the uids'})"
        )
    modules = ["meshward.edge", *(program.module for program in programs)]
    inside = [components.envoy] if any(program.sealed for program in programs) else []
    return hindrance(identity, modules, inside)


def _as_far_as(means: str, shared: int | None) -> str:
    """What of `means` holds where all parts are one user."""
    if means == "open" or shared is None:
        return means
    return "root" if shared == 0 else "user"


def guard_name(key: str, slot: int) -> str:
    """The slot makes it unique: (`a-b`, `c`) and (`a`, `b-c`) must not share an identity."""
    return f"guard-{slot:02d}-{key.replace('/', '-')}"
