"""Write docs/policy.md, schemas/policy.schema.json and docs/support.md from the code; tests compare them."""

from __future__ import annotations

from pathlib import Path

from meshward.apply.local_paths import LOCAL
from meshward.plan.support_page import support_text
from meshward.policy.reference import reference_text, schema_text
from meshward.policy.site import SITE_FORMAT
from meshward.render.paths import mesh_paths

ROOT = Path(__file__).resolve().parent.parent
FILES = {
    "docs/policy.md": reference_text,
    "schemas/policy.schema.json": schema_text,
    "schemas/site.schema.json": lambda: schema_text(SITE_FORMAT),
    "docs/support.md": lambda: support_text((*LOCAL, *mesh_paths())),
}


def main() -> None:
    for name, text in FILES.items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
