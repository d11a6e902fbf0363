"""Write docs/policy.md and schemas/policy.schema.json from the policy's schema; a test compares them."""

from __future__ import annotations

from pathlib import Path

from meshward.policy.reference import reference_text, schema_text

ROOT = Path(__file__).resolve().parent.parent
FILES = {"docs/policy.md": reference_text, "schemas/policy.schema.json": schema_text}


def main() -> None:
    for name, text in FILES.items():
        path = ROOT / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text(), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
