"""Options that several verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document for programs.")]
State = Annotated[
    Path,
    Parameter(name="--state", env_var="MESHWARD_STATE", help="The running instance's directory."),
]
DEFAULT_STATE = Path(".meshward")
PolicyPath = Annotated[Path, Parameter(help="A policy file, or a directory whose *.yaml files are merged.")]
RemoteEdge = Annotated[
    str | None,
    Parameter(
        name="--edge",
        help="Ask the instance behind this edge, as whom you are signed in, in place of the one in --state.",
    ),
]
EdgeUrl = Annotated[
    str | None,
    Parameter(
        name="--edge",
        help="The edge, e.g. https://models.example.com (or $MESHWARD_EDGE; else the instance in --state, "
        "else the only login there is).",
    ),
]
SitePath = Annotated[
    Path | None,
    Parameter(name="--site", help="Where the policy's names live in one environment (docs/site.md)."),
]
RunSitePath = Annotated[
    Path | None,
    Parameter(
        name="--site",
        help="A site file: which versions are elsewhere (docs/site.md). Without it, as the last revision has it.",
    ),
]
