"""The edge's own half of a switch: the decision service, and the epoch that ends every cached decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2

from meshward.apply.edge_page import EdgePage
from meshward.apply.hop_files import Owner, write_edge_revoked, write_revoked, write_rules
from meshward.apply.live_revision import LiveRevision
from meshward.apply.local import local_client
from meshward.callers.revocations import Revoked
from meshward.edge.instance_view import load_text, save_text
from meshward.runtime.machine import Machine
from meshward.runtime.supervise.handle import SupervisorHandle, hop_error
from meshward.tokens.key_store import save_current
from meshward.tokens.keys import SigningKeys

_HOP = "the decision service"


class DecisionHop:
    """Switched as one: from the next request on, whatever was cached before."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def switch(self, live: LiveRevision, following: LiveRevision | None, supervisor: SupervisorHandle) -> int:
        """Decide by `live`, narrowed to what `following` permits as well; returns the epoch.

        Raises MeshwardError if the service did not take it.
        """
        before = self._health()
        write_rules(live, following, self._machine.run, Owner(self._machine.decide))
        expected = {
            "policy": live.plan.digest,
            "revision": live.revision,
            "until": following.plan.digest if following else "",
            "ejected": sorted(live.ejected),
        }
        return self._reload(expected, before, supervisor)

    def revoke(self, revoked: Revoked, supervisor: SupervisorHandle) -> int:
        """Refuse `revoked` from the next request on, and end their answers; returns the epoch. Raises MeshwardError.

        nginx needs nobody's word to end answers, so that comes first: a new epoch has it look.
        """
        before, run = self._health(), self._machine.run
        write_edge_revoked(revoked, run.edge_dir, Owner(self._machine.edge))
        write_revoked(revoked, run, Owner(self._machine.decide))
        self._raise_epoch()
        return self._reload({"revoked": revoked.digest}, before, supervisor)

    def rekey(self, keys: SigningKeys, supervisor: SupervisorHandle) -> int:
        """Sign with the current one of `keys` from the next decision on; returns the epoch. Raises MeshwardError."""
        before = self._health()
        gid = Owner(self._machine.decide).gid
        save_current(self._machine.run.decide_dir / "keys", keys.current, gid)
        return self._reload({"signs": keys.current.kid}, before, supervisor)

    def signs(self) -> str | None:
        """The id of the key that it signs with; None where it does not answer."""
        return self._health().get("signs")

    def eject(self, versions: frozenset[str], supervisor: SupervisorHandle) -> int:
        """Send nobody to `versions` (`InstanceView.ejected`), whatever else is decided by; returns the epoch.

        Raises MeshwardError, OSError.
        """
        before, file = self._health(), self._machine.run.decide_dir / "live.json"
        live = replace(load_text(file.read_text()), ejected=tuple(sorted(versions)))
        Owner(self._machine.decide).write(file, save_text(live))
        return self._reload({"ejected": sorted(versions)}, before, supervisor)

    def _reload(self, expected: dict[str, Any], before: dict[str, Any], supervisor: SupervisorHandle) -> int:
        supervisor.hang_up("decide")
        attempts = before.get("reloads", 0)

        def missing() -> Sequence[str]:
            now = self._health()
            lack = [
                f"{name} is {now.get(name)!r}" for name, value in expected.items() if now.get(name) != value
            ]
            if lack and now.get("reload") and now.get("reloads", 0) > attempts:
                raise hop_error(_HOP, str(now["reload"]))
            return lack

        try:
            supervisor.arrival(_HOP, missing)
        finally:
            epoch = self._raise_epoch()
        return epoch

    def _raise_epoch(self) -> int:
        """After the service has arrived: what is then remembered under the new epoch is a new decision."""
        return EdgePage.in_directory(self._machine.run.edge_dir).raise_epoch()

    def _health(self) -> dict[str, Any]:
        try:
            with local_client(str(self._machine.run.decide_socket)) as client:
                value = json.loads(client.get("/healthz").content)
        except (httpx2.HTTPError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}
