"""Traffic as the instance itself moves it between versions: its canaries, who is ejected and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from meshward.apply.mesh import Mesh
from meshward.apply.traffic.canary_store import CanaryStore
from meshward.apply.traffic.ejected import save_ejected


class Traffic:
    """On `mesh`, which knows nothing of it."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh: Final = mesh
        self.canaries: Final = CanaryStore(mesh.machine.state.path)
        self._ill: Mapping[str, str] = {}

    @property
    def ill(self) -> Mapping[str, str]:
        """`<model>/<version>` that `health` ejected, and why."""
        return self._ill

    def keep_ill(self, ill: Mapping[str, str]) -> None:
        """For whoever asks, and for `status` as far as the disk takes it."""
        self._ill = dict(ill)
        with suppress(OSError):
            save_ejected(self.mesh.machine.state.path, self._ill)

    def wait_for_last(self, within: float) -> None:
        """During a stop: until the change under way has ended, a canary's too, so that STATE is nobody's any more.

        One that hangs has `within` seconds.
        """
        end = time.monotonic() + within
        if self.canaries.lock.acquire(timeout=within):
            try:
                self.mesh.wait_for_last(max(0.0, end - time.monotonic()))
            finally:
                self.canaries.lock.release()
