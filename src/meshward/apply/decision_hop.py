"""The edge's own half of a switch: the decision service, and the epoch that ends every cached decision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshward.apply.edge_page import EdgePage
from meshward.apply.hop_files import Owner, write_edge_revoked, write_revoked, write_rules
from meshward.apply.live_revision import LiveRevision
from meshward.callers.revocations import Revoked
from meshward.edge.instance_view import load_text, save_text
from meshward.kit.hop_socket import Asking, Listener, NoAnswer
from meshward.kit.strict import json_object, json_value
from meshward.kit.text import one_line, quoted
from meshward.runtime.machine import Machine
from meshward.runtime.supervise.handle import SupervisorHandle, hop_error
from meshward.tokens.key_store import save_current
from meshward.tokens.keys import SigningKeys

_HOP = "the decision service"
_SAID = 500  # characters of its own words
_GIVING = threading.Lock()
"""One at a time, from its files to its word: a revocation does not wait for the turn of who waits for a guard."""


class DecisionHop:
    """Switched as one: from the next request on, whatever was cached before.

    `ahead`: who is refused beside those that `revoke` is told of (`Mesh.ahead`).
    """

    def __init__(self, machine: Machine, ahead: Callable[[], Revoked] = Revoked) -> None:
        self._machine = machine
        self._ahead = ahead

    def switch(self, live: LiveRevision, following: LiveRevision | None, supervisor: SupervisorHandle) -> int:
        """Decide by `live`, narrowed to what `following` permits as well; returns the epoch.

        Raises MeshwardError if the service did not take it.
        """
        expected = {
            "policy": live.plan.digest,
            "revision": live.revision,
            "until": following.plan.digest if following else "",
            "ejected": sorted(live.ejected),
            "elsewhere": {key: str(place) for key, place in live.elsewhere.items()},
        }
        with _GIVING:
            before = self._health()
            write_rules(live, following, self._machine.run, Owner(self._machine.decide))
            return self._reload(expected, before, supervisor)

    def revoke(self, revoked: Revoked, supervisor: SupervisorHandle) -> int:
        """Refuse `revoked` from the next request on, and end their answers; returns the epoch. Raises MeshwardError.

        nginx needs nobody's word to end answers, so that comes first: a new epoch has it look.
        """
        with _GIVING:
            before, run, refused = self._health(), self._machine.run, revoked.joined(self._ahead())
            write_edge_revoked(refused, run.edge_given, Owner(self._machine.edge))
            write_revoked(refused, run, Owner(self._machine.decide))
            self._raise_epoch()
            return self._reload({"revoked": refused.digest}, before, supervisor)

    def rekey(self, keys: SigningKeys, supervisor: SupervisorHandle) -> int:
        """Sign with the current one of `keys` from the next decision on; returns the epoch. Raises MeshwardError."""
        gid = Owner(self._machine.decide).gid
        with _GIVING:
            before = self._health()
            save_current(self._machine.run.decide_given / "keys", keys.current, gid)
            return self._reload({"signs": keys.current.kid}, before, supervisor)

    def callers(self) -> list[str]:
        """Who asked since it started, whoever asked last first; nobody where it does not answer."""
        listener = Listener(self._machine.run.decide_socket, self._machine.decide.uid)
        try:
            told = json_value(Asking(listener).text("/callers").encode())
        except (NoAnswer, ValueError):
            return []
        return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []

    def signs(self) -> str | None:
        """The id of the key that it signs with; None where it does not answer."""
        signs = self._health().runs.get("signs")
        return signs if isinstance(signs, str) else None

    def eject(self, versions: frozenset[str], supervisor: SupervisorHandle) -> int:
        """Send nobody to `versions` (`InstanceView.ejected`), whatever else is decided by; returns the epoch.

        Raises MeshwardError, OSError.
        """
        with _GIVING:
            before, file = self._health(), self._machine.run.decide_given / "live.json"
            live = replace(load_text(file.read_text()), ejected=tuple(sorted(versions)))
            Owner(self._machine.decide).write(file, save_text(live))
            return self._reload({"ejected": sorted(versions)}, before, supervisor)

    def _reload(self, expected: dict[str, Any], before: Health, supervisor: SupervisorHandle) -> int:
        supervisor.hang_up("decide")

        def missing() -> Sequence[str]:
            now = self._health()
            lack = now.lack(expected)
            if lack and now.refused and now.reloads > before.reloads:
                raise hop_error(_HOP, one_line(now.refused[:_SAID]))
            return lack

        try:
            supervisor.arrival(_HOP, missing)
        finally:
            epoch = self._raise_epoch()
        return epoch

    def _raise_epoch(self) -> int:
        """After the service has arrived: what is then remembered under the new epoch is a new decision."""
        return EdgePage.in_directory(self._machine.run.edge_given).raise_epoch()

    def _health(self) -> Health:
        listener = Listener(self._machine.run.decide_socket, self._machine.decide.uid)
        try:
            return read_health(Asking(listener).text("/healthz"))
        except (NoAnswer, ValueError) as fault:
            return Health(silent=str(fault))


@dataclass(frozen=True, slots=True)
class Health:
    """What the service says of itself; `silent`: why it says nothing."""

    runs: Mapping[str, Any] = field(default_factory=dict)  # what it decides by, and signs with
    reloads: int = 0
    refused: str = ""  # why it did not take what it was last given
    silent: str = ""

    def lack(self, expected: Mapping[str, Any]) -> list[str]:
        """What keeps it from running `expected`, in sentences."""
        if self.silent:
            return [self.silent]
        pairs = ((name, value, self.runs.get(name)) for name, value in expected.items())
        return [f"{name} is {quoted(now)}" for name, value, now in pairs if now != value]


def read_health(text: str) -> Health:
    """Raises ValueError for what the service does not say."""
    told = json_object(text.encode())
    reloads, refused = told.get("reloads"), told.get("reload")
    if type(reloads) is not int or not isinstance(refused, str | None):
        raise ValueError("it says nothing of its reloads")
    return Health(told, reloads, refused or "")
