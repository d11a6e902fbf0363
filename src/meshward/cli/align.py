"""meshward align: does what runs in a mesh still mean what the policy says?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from meshward.align.compare import Alignment, align
from meshward.align.documents import read_bodies, read_data
from meshward.align.finding import Finding
from meshward.align.istio.objects import MeshObject
from meshward.apply.public_keys import keys_of, keys_of_state
from meshward.apply.sources import read_policy, read_site
from meshward.check.site import find_widening
from meshward.cli.options import Json, PolicyPath, SitePath
from meshward.cli.output import print_json, run_verb, stderr, stdout
from meshward.kit import codes
from meshward.kit.errors import MeshwardError, PolicyInvalid
from meshward.kit.exits import Exit
from meshward.plan.placement import place
from meshward.plan.resolve import resolve

_SUFFIXES = (".yaml", ".yml", ".json")


def command(
    policy: PolicyPath,
    /,
    *,
    target: Annotated[Literal["istio"], Parameter(help="What runs there.")],  # noqa: ARG001 - the only one yet
    site: SitePath = None,
    from_: Annotated[
        Path | None,
        Parameter(
            name="--from",
            help="A directory of YAML or JSON, rendered or dumped, in place of a cluster.",
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None, Parameter(help="How to reach the cluster; without it and --from, as kubectl does.")
    ] = None,
    keys: Annotated[
        Path | None, Parameter(help="The edge's public keys, current and next, as a JSON Web Key Set.")
    ] = None,
    state: Annotated[Path | None, Parameter(help="The edge's instance, whose public keys are taken.")] = None,
    json: Json = False,
) -> None:
    """Compare what runs with what POLICY means: who could reach what he should not, who cannot, through which object.

    Exits 0 in silence, 11 with findings. Nothing is changed.
    """

    def run() -> Exit:
        if from_ is not None and kubeconfig is not None:
            raise MeshwardError(codes.COMMAND_USAGE, "give --from or --kubeconfig, not both")
        plan = resolve(read_policy(policy).policy)
        document = None if site is None else read_site(site)
        if document is not None and (widening := list(find_widening(plan, document))):
            raise PolicyInvalid(widening)
        placed = place(plan, None if document is None else document.site)
        root = placed.mesh.root_namespace
        objects = _from_directory(from_) if from_ is not None else _from_cluster(kubeconfig, root)
        found = align(placed, objects, _keys(keys, state))
        _print(found, json, placed.convention)
        return Exit.FINDINGS if found.findings else Exit.OK

    run_verb(run, as_json=json)


def _keys(file: Path | None, state: Path | None) -> tuple[dict[str, str], ...] | None:
    if file is not None and state is not None:
        raise MeshwardError(codes.COMMAND_USAGE, "give --keys or --state, not both")
    if file is not None:
        return keys_of(file)
    return None if state is None else keys_of_state(state)


def _from_directory(directory: Path) -> list[MeshObject]:
    """All that is below it, or a file, by name: the later of two objects with one name is in force."""
    found = directory.rglob("*") if directory.is_dir() else [directory]
    files = sorted(path for path in found if path.suffix in _SUFFIXES and path.is_file())
    objects = [each for path in files for each in read_data(str(path), path.read_bytes())]
    if not objects:
        raise MeshwardError(
            codes.COMMAND_USAGE, f"{directory} holds no object", "Name the directory that does."
        )
    return objects


def _from_cluster(kubeconfig: Path | None, root: str) -> list[MeshObject]:
    from meshward.cluster.read import read_objects  # its client is slow to load

    return read_bodies((body, "") for body in read_objects(kubeconfig, root_namespace=root))


def _print(found: Alignment, as_json: bool, convention: tuple[str, ...]) -> None:
    notes = [*found.notes, *(f"by convention: {each}" for each in convention)]
    if as_json:
        print_json(_document(found, notes))
        return
    for note in notes:
        stderr().print(note, markup=False)
    lines = [line for each in found.findings for line in _lines(each)]
    if found.findings:
        number = len(found.findings)
        lines.append(f"{number} finding{'' if number == 1 else 's'}.")
    if lines:
        stdout().print("\n".join(lines), markup=False)


def _lines(finding: Finding) -> list[str]:
    place = f"{finding.ref.place}: " if finding.ref and finding.ref.place else ""
    return [f"{place}{finding.code}: {finding.line()}", f"    {finding.remedy or finding.code.remedy}"]


def _document(found: Alignment, notes: list[str]) -> dict[str, Any]:
    return {
        "ok": not found.findings,
        "exit": int(Exit.FINDINGS if found.findings else Exit.OK),
        "findings": [each.as_json() for each in found.findings],
        "notes": notes,
    }
