"""docs/policy.md and schemas/policy.schema.json as texts; `scripts/reference.py` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from meshward.kit import codes
from meshward.policy.jsonschema import POLICY_FORMAT, Format
from meshward.policy.schema import ACTIONS, Server
from meshward.policy.servers import BUILT_IN, naming_of
from meshward.policy.tree import MOST_BYTES, MOST_DEPTH, MOST_NODES

_INTRODUCTION = f"""\
# Policy reference

One policy says who may use which model, and every layer enforces it. This page has every key of its format.
It is made from the schema by `scripts/reference.py`, as is
[`schemas/policy.schema.json`](../schemas/policy.schema.json), with which an editor completes keys and marks
errors as you type. With the YAML language server, begin the file with

    # yaml-language-server: $schema=schemas/policy.schema.json

[`examples/policy.yaml`](../examples/policy.yaml) is a whole policy that uses every key. `meshward check
POLICY` reads a policy, says everything that is wrong with it, and runs its `tests`; pytest can do more, on
a real instance ([testing your policy](testing-your-policy.md)).

## The file

A policy is one YAML file, or a directory. Of a directory, the files named `*.yaml` and `*.yml` are merged
in the order of their names; a name that begins with a dot is left out. Mappings are merged by key and lists
follow one another. A name that is given twice is an error that names both places; only `version: 1` may
stand in every file.

The YAML is 1.2, and less than all of it, so that a file has one meaning:

* Anchors, aliases, tags, directives and a second document are refused. So is a key without a value:
  `limits:` followed by nothing would read like a limit and be none.
* Text is text: `2027-03-31`, `10:00` and `no` need no quotes. Whole decimal numbers and `true` or `false`
  are not text; quote them where text is meant. Other numbers (`1.5`, `0o17`, `0x1f`, `007`, `1e3`) are
  refused until they are quoted.
* What cannot be seen is refused, in comments too: control characters, a byte order mark, bidirectional
  marks, characters of zero width, unassigned ones, spaces other than U+0020. A value holds no line break
  and no tab.
* At most {MOST_BYTES // 1024**2} MiB, {MOST_NODES:,} values and {MOST_DEPTH} levels.

Unknown keys and wrong types are errors, never ignored. Every problem has a file, line and column, a code
that keeps its meaning, and a remedy. The texts in a policy are data: they are compared byte for byte.
"""

_RULES = """\
## What no schema can say

`meshward check` also refuses:

* a name of nothing: an issuer, role, workload, model, agent, credential, server kind or attribute that is
  not defined;
* two grants, denies or laws with one id, two models with one alias, an alias that is a model's name, a trust
  domain that is a permission (`<model>.<action>`), two workloads with one SPIFFE ID, two issuers with one
  `iss`, two versions with one DNS name;
* a route under two actions of one server kind, or a client's route that is also the health route; two
  versions of a model that give one route different actions, because they share one URL;
* traffic to a version that does not exist, or to none at all;
* a member line that asks nothing of the caller, or asks for a group, claims or a subject without naming the
  issuer;
* an issuer without what its profile needs: `issuer` and `audience`; for `cognito` `region`, `user_pool` and
  `clients`; for `github-actions` `audience`. Its URLs are `https`; `http` only on this machine and with
  `http` under `jwks.allow`, a private address only with `private`, a link-local or metadata address never;
* parts that say nothing and look as if they did: a deny that selects nothing, a selector without `labels`
  and `same`, an empty `when`, limits that limit nothing, a server kind without routes;
* a server that one version lists twice, among `url` and `replicas`;
* taken names: server kinds that are built in, the credential `generated`, the issuer `workload`, attributes
  called `identity`, `grant` or `everyone`, workloads with the ids `/edge` and `/model/...`;
* `capture: sealed` without a key under `audit: {seal_to: [...]}`.

Dates never stop anything: a grant that has expired, or a membership that is over, is a lint. So is a secret that
its guard would send over a network in clear.
"""

_KINDS_OF_SERVERS = """\
## Built-in server kinds

A client reaches exactly these routes, each only with its action; whatever else the server has does not exist.

"""


def schema_text(form: Format = POLICY_FORMAT) -> str:
    """schemas/policy.schema.json, or that of another format."""
    return json.dumps(form.json_schema(), indent=2, ensure_ascii=False) + "\n"


def reference_text() -> str:
    """docs/policy.md."""
    schema = POLICY_FORMAT.json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    mappings = _in_order(schema["properties"], definitions, {})
    texts = sorted(definitions.keys() - mappings)
    return "\n".join(
        [
            _INTRODUCTION,
            _RULES,
            "## Top level\n\n" + _table(schema),
            *(_mapping(name, definitions[name]) for name in mappings),
            "## Kinds of values\n\n" + "\n".join(_kind(name, definitions[name]) for name in texts),
            _KINDS_OF_SERVERS + _server_table(),
            "## Codes\n\n| code | meaning |\n| --- | --- |\n"
            + "".join(_row(_link(code), code.title) for code in codes.FAMILIES["Policy"]),
        ]
    )


def _in_order(schema: Any, definitions: dict[str, Any], found: dict[str, None]) -> dict[str, None]:
    """The mappings of the format, each where it is first used."""
    for name in _references(schema):
        if "properties" in definitions[name]:
            if name in found:
                continue
            found[name] = None
        _in_order(definitions[name], definitions, found)
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _mapping(name: str, schema: dict[str, Any]) -> str:
    return f"## {name}\n\n{_line(schema['description'])}\n\n{_table(schema)}"


def _kind(name: str, schema: dict[str, Any]) -> str:
    examples = ", ".join(f"`{example}`" for example in schema.get("examples", ()))
    return f"### {name}\n\n{_line(schema['description'])}{f' Like {examples}.' if examples else ''}\n"


def _table(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = (
        _row(
            f"`{key}`", _type(body), "needed" if key in needed else _default(body), _line(body["description"])
        )
        for key, body in schema["properties"].items()
    )
    return "| key | value | default | meaning |\n| --- | --- | --- | --- |\n" + "".join(rows)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _link(code: codes.Code) -> str:
    return f"[{code}](codes.md#{code.number.lower()})"


def _type(schema: dict[str, Any]) -> str:
    """What a value may be, in words, with links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(choice) for choice in choices)
    if words := schema.get("enum") or [schema["const"]] if "const" in schema or "enum" in schema else None:
        return " or ".join(f"`{word}`" for word in words)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_type(schema['additionalProperties'])}"
    if "minimum" in schema:
        return f"number from {schema['minimum']} to {schema['maximum']}"
    return {"object": "mapping", "integer": "number", "boolean": "`true` or `false`"}.get(
        schema["type"], "text"
    )


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    if value is None or value == []:
        return ""
    return f"`{', '.join(value) if isinstance(value, list) else value}`"


def _server_table() -> str:
    head = _row("kind", *ACTIONS, "health", "`model` in a body") + _row(*["---"] * (len(ACTIONS) + 3))
    return head + "".join(_server_row(name, server) for name, server in BUILT_IN.items())


def _server_row(name: str, server: Server) -> str:
    cells = (", ".join(f"`{route}`" for route in getattr(server, action)) for action in ACTIONS)
    naming = naming_of(name, server)
    below = ", looked at below `/v1/`" if naming.where == "v1" else ""
    return _row(f"`{name}`", *cells, f"`{server.health}`", f"`{naming.does}`{below}")


def _line(text: str) -> str:
    """A docstring as one line."""
    return " ".join(text.split())
