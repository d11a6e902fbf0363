"""`meshward up`: from an accepted policy to a running instance.

1. Refuse what cannot be enforced here, components with known holes, ports in use, a second instance on the same state.
2. Give every part its identity and its files: the authority, certificates, keys, each hop's configuration.
3. Let Envoy judge each guard's static twin and nginx its program, before anything starts.
4. Start everything, and keep it running until told to stop; issue certificates anew before they end.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from meshward.apply.book import Book, load_book
from meshward.apply.hops import (
    Owner,
    edge_settings,
    origin,
    write_decision,
    write_edge,
    write_guard,
)
from meshward.apply.renew import renew_edge, renew_guards
from meshward.apply.slots import assign_slots
from meshward.kit.durable import write_atomic
from meshward.kit.errors import Exit, MeshwardError
from meshward.plan.ir import Plan
from meshward.plan.resolve import resolve
from meshward.policy.schema import Policy
from meshward.runtime import upstreams
from meshward.runtime.components import Components, find_components
from meshward.runtime.directories import (
    Run,
    State,
    clean,
    open_state,
    own_directory,
    run_directory,
    shm_directory,
)
from meshward.runtime.identities import Identity, assign_identities, popen_user, starter
from meshward.runtime.instance import Guarded, Instance
from meshward.runtime.lock import hold_lock
from meshward.runtime.part import Progress
from meshward.runtime.parts import (
    Bench,
    Program,
    collector_program,
    decision_program,
    edge_part,
    guard_part,
    python_part,
)
from meshward.runtime.ports import require_free
from meshward.runtime.process import CLEAN_ENVIRONMENT, ProcessSpec, can_execute_as, open_log
from meshward.runtime.ready import file_exists
from meshward.runtime.supervisor import Supervisor
from meshward.spiffe.ca import SVID_TTL, Authority
from meshward.spiffe.ca import load_or_create as load_authority
from meshward.targets.envoy.files import GuardFiles, validate_command
from meshward.tokens.keys import load_or_create as load_keys

MOST_WORKERS = 4
RENEW_EVERY = SVID_TTL.total_seconds() / 3
RETRY_RENEWAL = 30.0  # seconds

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Extras:
    """What a demo adds: servers that are started with the instance, by `<model>/<version>`, and further programs."""

    servers: Mapping[str, Program] = field(default_factory=dict)
    programs: Sequence[Program] = ()
    idp_url: str | None = None
    ports: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Who runs in which slot, decided before anything is written."""

    plan: Plan
    book: Book
    bench: Bench
    sentence: str

    def identity(self, part: str) -> Identity:
        return self.bench.identities[part]

    def owner(self, part: str) -> Owner:
        return Owner(self.identity(part))

    def guards(self) -> dict[str, Owner]:
        return {key: Owner(self.guard(key)) for key in self.book.slots}

    def guard(self, key: str) -> Identity:
        return self.identity(_guard_name(key, self.book.slots[key]))


def up(
    policy: Policy,
    path: Path,
    extras: Callable[[Run], Extras],
    on_ready: Callable[[Instance], None],
    progress: Progress,
) -> None:
    """Run `policy` with its state in `path`, in the foreground. Raises MeshwardError for what steps 1 and 3 refuse."""
    plan = resolve(policy)
    components = find_components()
    for warning in components.warnings:
        progress(f"warning: {warning}")
    state = open_state(path)
    with hold_lock(state), _logging_to(state):
        run = Run(run_directory(state))
        extra = extras(run)
        require_free([(plan.edge.host, plan.edge.port), *extra.ports])
        try:
            layout = _lay_out(plan, state, run, components, extra)
            instance = _write(layout, policy, extra)
            asyncio.run(_run(layout, extra, lambda: on_ready(instance), progress))
        finally:
            clean(state)


@contextmanager
def _logging_to(state: State) -> Iterator[None]:
    """The supervisor's own log, JSON, beside those of the parts."""
    with os.fdopen(open_log(state.log("supervisor")), "a") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        yield


def _lay_out(plan: Plan, state: State, run: Run, components: Components, extra: Extras) -> Layout:
    """Step 2, who is who. Python parts whose interpreter another uid cannot reach stay with the starter."""
    book = load_book(state.path)
    slots = assign_slots(plan, book.slots)
    guards = {_guard_name(key, slot): extra.servers.get(key) for key, slot in slots.items()}
    sealed = [name for name, program in guards.items() if program and program.sealed]
    servers = [program.name for program in extra.servers.values() if not program.sealed]
    python = ["decide", *servers, *(program.name for program in extra.programs), *sealed]
    assigned = assign_identities(state, ["edge", *guards, *python])
    known = {name: assigned.of(name) for name in ("edge", *guards, *python)}
    sentence = assigned.sentence
    if assigned.separate and not can_execute_as(
        known["decide"], (sys.executable, "-c", "import meshward.edge")
    ):
        known |= dict.fromkeys(python, starter())
        sentence = f"nginx and Envoy run as users of their own; Python parts as you (uid {os.geteuid()}), " \
            "because other users cannot reach this Python"  # fmt: skip
    known["collector"] = starter()  # it reads every hop's private log
    for key, slot in slots.items():
        name = _guard_name(key, slot)
        known[name] = upstreams.admitted(plan, key, known[name], key in extra.servers)
    bench = Bench(state, run, components, known)
    return Layout(plan, book.accepting(plan.digest, slots), bench, sentence)


def _write(layout: Layout, policy: Policy, extra: Extras) -> Instance:
    """Steps 2 and 3: every file, judged before anything runs."""
    plan, book, bench = layout.plan, layout.book, layout.bench
    state, run, edge = bench.state, bench.run, layout.identity("edge")
    authority = load_authority(state.path / "ca", plan.trust_domain)
    keys = load_keys(state.path / "keys")
    cache = shm_directory(state, edge.uid, edge.gid)
    workers = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
    settings = edge_settings(plan, run, cache, str(bench.components.njs_module), workers)
    write_edge(settings, authority, layout.owner("edge"), str(book.generation), book.epoch)
    for key, slot in book.slots.items():
        files = write_guard(plan, key, slot, run, authority, keys, layout.guards()[key], edge)
        _judge_guard(bench.components.envoy, key, files)
    _judge_edge(bench)
    write_decision(plan, policy, run, book.slots, keys, book.revision, layout.owner("decide"), edge)
    own_directory(run.path / "audit", mode=0o711)
    _make_server_directories(layout, extra)
    write_atomic(state.path / "policy.json", policy.model_dump_json(by_alias=True, exclude_unset=True))
    book.save(state.path)
    return _instance(layout, authority, extra)


def _make_server_directories(layout: Layout, extra: Extras) -> None:
    """A folder for the socket of each server that we start: the server's, and its guard's to pass."""
    own_directory(layout.bench.run.path / "models", mode=0o711)
    for key, program in extra.servers.items():
        guard = layout.guard(key)
        owner = guard if program.sealed else layout.identity(program.name)
        model, version = key.split("/")
        own_directory(layout.bench.run.model_dir(model, version), uid=owner.uid, gid=guard.gid, mode=0o2710)


def _instance(layout: Layout, authority: Authority, extra: Extras) -> Instance:
    plan, run = layout.plan, layout.bench.run
    root = layout.bench.state.path / "root.pem"
    write_atomic(root, authority.root_pem, 0o644)
    instance = Instance(
        edge_url=origin(plan),
        root_certificate=str(root),
        run=str(run.path),
        trust_domain=plan.trust_domain,
        revision=layout.book.revision,
        guards=tuple(_guarded(layout, key, slot, extra) for key, slot in layout.book.slots.items()),
        idp_url=extra.idp_url,
    )
    instance.save(layout.bench.state.path)
    return instance


def _guarded(layout: Layout, key: str, slot: int, extra: Extras) -> Guarded:
    model, version = key.split("/")
    deployed = {each.name: each for each in layout.plan.models[model].versions}[version]
    program = extra.servers.get(key)
    reach = "sealed" if program and program.sealed else upstreams.reach(deployed.url, bool(program))
    socket = str(layout.bench.run.guard_socket(slot))
    return Guarded(model, version, f"{slot:02d}", deployed.dns_name, socket, deployed.url, reach)


async def _run(layout: Layout, extra: Extras, on_ready: Callable[[], None], progress: Progress) -> None:
    supervisor = Supervisor(
        layout.bench.state, _specs(layout, extra), notes=(layout.sentence,), progress=progress
    )
    renewal = asyncio.create_task(_renew(layout))
    try:
        await supervisor.run(on_ready)
    finally:
        renewal.cancel()


def _specs(layout: Layout, extra: Extras) -> list[ProcessSpec]:
    bench, slots = layout.bench, layout.book.slots
    heartbeat = bench.run.path / "audit" / "heartbeat"
    heartbeat.unlink(missing_ok=True)
    specs = [python_part(bench, collector_program(bench.run, bench.state, file_exists(heartbeat)))]
    specs += [python_part(bench, program) for program in extra.programs]
    specs += [python_part(bench, program) for program in extra.servers.values() if not program.sealed]
    specs.append(python_part(bench, decision_program(bench.run, layout.identity("edge").gid), ["collector"]))
    for key, slot in slots.items():
        program = extra.servers.get(key)
        before = [program.name] if program and not program.sealed else []
        sealed = program if program and program.sealed else None
        specs.append(guard_part(bench, _guard_name(key, slot), slot, sealed, before))
    everything = ["decide", *(_guard_name(key, slot) for key, slot in slots.items())]
    specs.append(edge_part(bench, layout.plan.edge.host, layout.plan.edge.port, everything))
    return specs


async def _renew(layout: Layout) -> None:
    """Step 4: a third of an SVID's life after it was issued there is a new one, so two tries may fail."""
    book, plan, run = layout.book, layout.plan, layout.bench.run
    pause = RENEW_EVERY
    while True:
        await asyncio.sleep(pause)
        try:
            authority = load_authority(layout.bench.state.path / "ca", plan.trust_domain)
            owners = {book.slots[key]: owner for key, owner in layout.guards().items()}
            renew_guards(plan, book.slots, run, authority, owners)
            book = book.renewed()
            renew_edge(plan, run, authority, layout.owner("edge"), book.generation)
            book.save(layout.bench.state.path)
            log.info("certificates_renewed", generation=book.generation)
            pause = RENEW_EVERY
        except (OSError, MeshwardError) as error:
            log.error("renewal_failed", why=type(error).__name__, retry_in=RETRY_RENEWAL)
            pause = RETRY_RENEWAL


def _judge_guard(envoy: Path, key: str, files: GuardFiles) -> None:
    """The twin holds the SVID's key: it lives in memory, 0600, for as long as Envoy reads it."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", suffix=".json") as twin:
        twin.write(files.twin)
        twin.flush()
        _judge(f"the guard of {key}", validate_command(str(envoy), twin.name))


def _judge_edge(bench: Bench) -> None:
    directory = bench.run.edge_dir
    test = ["-t", "-q", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", "stderr"]
    _judge("the edge", [str(bench.components.nginx), *test], bench.identities["edge"])


def _judge(what: str, argv: Sequence[str], identity: Identity | None = None) -> None:
    user = popen_user(identity) if identity else {}
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        umask=0o077,
        env=CLEAN_ENVIRONMENT,
        **user,
    )
    if done.returncode != 0:
        raise MeshwardError(
            "MW3012",
            f"{what} refuses its configuration: {done.stderr.strip()[-600:]}",
            "Nothing was started. This is a fault of meshward unless the message names a file of yours.",
            exit_code=Exit.HOP_REFUSED,
        )


def _guard_name(key: str, slot: int) -> str:
    """The slot makes it unique: (`a-b`, `c`) and (`a`, `b-c`) must not share an identity."""
    return f"guard-{slot:02d}-{key.replace('/', '-')}"
