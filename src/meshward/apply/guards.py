"""Asking a running guard which projection is live, over its admin socket."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from meshward.targets.envoy.readback import DUMP_PATHS, STATS_PATH, Report, differences, read_report

_TIMEOUT = 2.0  # seconds


class GuardAdmin:
    """The admin interface of the guard behind `socket`. A guard that does not answer is not live."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def report(self) -> Report:
        """What the guard says. Raises httpx2.HTTPError, or ValueError for an answer that is not Envoy's."""
        transport = httpx2.HTTPTransport(uds=self._socket)
        with httpx2.Client(transport=transport, base_url="http://guard", timeout=_TIMEOUT) as client:
            dumps = {kind: _get(client, path) for kind, path in DUMP_PATHS.items()}
            return read_report(_get(client, STATS_PATH), dumps)

    def missing(self, expected: Mapping[str, str], before: Report | None = None) -> tuple[str, ...]:
        """What keeps the guard from running `expected` (digests by file stem), in sentences."""
        try:
            return differences(expected, self.report(), before)
        except (httpx2.HTTPError, ValueError) as fault:
            return (f"the guard's admin socket does not answer: {type(fault).__name__}",)

    def is_live(self, expected: Mapping[str, str], before: Report | None = None) -> bool:
        """Whether the guard runs exactly `expected`, and has refused nothing since `before`."""
        return not self.missing(expected, before)


def _get(client: httpx2.Client, path: str) -> str:
    response = client.get(path)
    response.raise_for_status()
    return response.text
