"""From one revision to another at every hop, and back by the same steps.

1. Guards that do not run yet start, and are seen to run what they were given: nobody is sent to them.
2. Where running guards change, the edge permits only what both revisions permit: what is lost is closed.
3. The running guards change: what is gained is open behind a door that is still shut.
4. nginx reloads, where its program must change.
5. The edge decides by the new revision alone: what is gained is open.

Where an issuer with a revoked subject gets another name, both names are refused from before 2 until after 5.

A rule that no guard knows of (a role, a grant, a weight) is step 5 alone: one rename at one hop. A step is done
when the hop's own process says so. Guards that the new revision has no use for run on until they are discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from meshward.apply.decision_hop import DecisionHop
from meshward.apply.edge_hop import EdgeHop
from meshward.apply.guards import Guards
from meshward.apply.hop_files import Owner
from meshward.apply.live_revision import Guard, LiveRevision
from meshward.callers.revocations import Revoked
from meshward.kit.errors import MeshwardError
from meshward.runtime.machine import Machine
from meshward.runtime.supervise.handle import SupervisorHandle
from meshward.runtime.supervise.ready import tls_accepts
from meshward.targets.envoy.files import GuardFiles
from meshward.targets.nginx.settings import EdgeSettings

log = structlog.get_logger(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rendering:
    """One of the two revisions: `files` are those of the guards that change, as it wants them.

    `revoked`: who is refused, as it calls them.
    """

    live: LiveRevision
    settings: EdgeSettings
    files: Mapping[Guard, GuardFiles]
    revoked: Revoked = field(default_factory=Revoked)


@dataclass(frozen=True, slots=True)
class Switch:
    """Everything that a switch needs, rendered and judged before the first hop is touched."""

    old: Rendering
    new: Rendering
    starts: Mapping[Guard, GuardFiles]
    stops: tuple[Guard, ...]

    @property
    def reloads(self) -> bool:
        return self.old.settings != self.new.settings

    @property
    def renames(self) -> bool:
        """Whether somebody who is revoked is called otherwise afterwards."""
        return self.old.revoked != self.new.revoked


class Switcher:
    """Carries a `Switch` out. `ahead`: whom it refuses beside those that it is told of (`Mesh.ahead`)."""

    def __init__(
        self,
        machine: Machine,
        guards: Guards,
        supervisor: SupervisorHandle,
        ahead: Callable[[], Revoked] = Revoked,
    ) -> None:
        self._machine = machine
        self._guards = guards
        self._supervisor = supervisor
        self._decision_hop = DecisionHop(machine, ahead)
        self._edge_hop = EdgeHop(machine)

    def forward(self, switch: Switch, say: Say) -> None:
        """Raises MeshwardError or OSError at the first hop that does not arrive; then call `back`."""
        for guard, files in switch.starts.items():  # 1
            say(f"starting the guard of {guard[0]}")
            self._guards.write(guard, files, Owner(self._machine.guard(switch.new.live.plan, *guard)))
            self._guards.start(guard, self._supervisor)
        if switch.renames:
            self.revoke(switch.old.revoked.joined(switch.new.revoked))
        self._narrow(switch)  # 2
        if switch.new.files:  # 3
            say(f"switching {len(switch.new.files)} guard{'s' if len(switch.new.files) > 1 else ''}")
            self._guards.switch_all(switch.new.files, self._supervisor)
        self._reload(switch, switch.new, say)  # 4
        self._decision_hop.switch(switch.new.live, None, self._supervisor)  # 5
        if switch.renames:
            self.revoke(switch.new.revoked)

    def back(self, switch: Switch) -> list[str]:
        """To the old revision, from wherever `forward` ended. Returns what could not be confirmed.

        While a guard is not seen to run the old rules, the edge goes on permitting only what both permit.
        """
        lacking: list[str] = []
        if switch.new.files:
            self._try(lacking, lambda: self._narrow(switch))
        for guard, files in switch.old.files.items():
            switch_back = partial(self._guards.switch, guard, files, self._supervisor, back=True)
            self._try(lacking, switch_back)
        if switch.reloads:
            self._try(lacking, lambda: self._reload(switch, switch.old, lambda _: None))
        if not lacking:
            self._try(lacking, lambda: self._decision_hop.switch(switch.old.live, None, self._supervisor))
        if not lacking and switch.renames:
            self._try(lacking, lambda: self.revoke(switch.old.revoked))
        for guard in switch.starts:
            self._try(lacking, partial(self._guards.remove, guard, self._supervisor))
        return lacking

    def revoke(self, revoked: Revoked) -> None:
        """At the edge, for the next request."""
        self._decision_hop.revoke(revoked, self._supervisor)

    def _narrow(self, switch: Switch) -> None:
        if switch.new.files:
            self._decision_hop.switch(switch.old.live, switch.new.live, self._supervisor)

    def _reload(self, switch: Switch, to: Rendering, say: Say) -> None:
        if switch.reloads:
            say("reloading nginx")
            edge = to.live.plan.edge
            certificates = self._machine.run.edge_given / "certs"
            self._supervisor.respecify("edge", ready=tls_accepts(edge.host, edge.port, certificates))
            self._edge_hop.switch(to.settings, self._supervisor)

    def _try(self, lacking: list[str], step: Callable[[], object]) -> None:
        try:
            step()
        except (MeshwardError, OSError) as error:
            log.error("not_back", why=str(error))
            lacking.append(str(error))
