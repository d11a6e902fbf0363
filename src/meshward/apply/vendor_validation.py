"""The vendors judge a configuration before it runs: Envoy the guards' static twins, nginx the edge's program."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.directories import TWIN
from meshward.runtime.place.identities import CLEAN_ENVIRONMENT, ProcessIdentity, popen_user
from meshward.runtime.supervise.parts import Layout, nginx_command
from meshward.targets.envoy.files import GuardFiles, validate_command
from meshward.targets.envoy.twins import join_twins

_TIMEOUT = 30.0  # seconds


def judge_guards(layout: Layout, files: Mapping[str, GuardFiles]) -> None:
    """All in one go, which saves most of the time; where that is refused, one by one, and that counts.

    Raises MeshwardError (MW3012) naming the guard. A twin holds an SVID's key: it lies in STATE, 0600, for as long as
    Envoy reads it, and a killed start leaves it nowhere else.
    """
    if len(files) > 1:
        with suppress(MeshwardError):
            _judge_twin(layout, "a guard", join_twins([each.twin for each in files.values()]))
            return
    for key, each in files.items():
        _judge_twin(layout, f"the guard of {key}", each.twin)


def _judge_twin(layout: Layout, what: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=layout.state.path, prefix=TWIN, suffix=".json") as twin:
        twin.write(content)
        twin.flush()
        _judge(what, validate_command(str(layout.components.envoy), twin.name))


def judge_edge(layout: Layout, program: Path) -> None:
    """As the user that nginx runs as: what root may read proves nothing."""
    _judge("the edge", [*nginx_command(layout, program), "-t", "-q"], layout.identities["edge"])


def _judge(what: str, argv: Sequence[str], identity: ProcessIdentity | None = None) -> None:
    """Raises MeshwardError (MW3012) with the vendor's own words."""
    user = popen_user(identity) if identity else {}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=_TIMEOUT,
            check=False, umask=0o077, env=CLEAN_ENVIRONMENT, **user,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _vendor_error(what, f"no verdict within {_TIMEOUT:.0f} s") from None
    if done.returncode != 0:
        raise _vendor_error(what, done.stderr.strip()[-600:])


def _vendor_error(what: str, why: str) -> MeshwardError:
    return MeshwardError(
        codes.CONFIGURATION_REFUSED,
        f"{what} refuses its configuration: {why}",
    )
