"""`python -m meshward.demo.token NAME [--state DIR]`: a fresh token of a demo account, by the real device flow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from meshward.demo.accounts import PEOPLE, token_for
from meshward.kit.errors import MeshwardError
from meshward.runtime.place.instance_file import load_instance


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m meshward.demo.token", description=__doc__)
    parser.add_argument("account", choices=PEOPLE)
    parser.add_argument("--state", type=Path, default=Path(".meshward"), help="the demo's state directory")
    options = parser.parse_args()
    try:
        instance = load_instance(options.state)
        if instance.idp_url is None:
            parser.error(f"{options.state} is no demo: it has no identity provider of its own")
        print(token_for(instance.idp_url, options.account, options.state).reveal())
    except MeshwardError as error:
        print(f"{error.code}: {error.message}. {error.remedy}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
