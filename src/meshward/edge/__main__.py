"""`python -m meshward.edge --dir RUN/given/decide [--socket PATH] [--heartbeat FILE] [--socket-gid GID]`:
the decision service.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from meshward.edge.serve import serve
from meshward.kit.errors import MeshwardError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m meshward.edge")
    parser.add_argument("--dir", type=Path, required=True, help="policy.json, live.json, keys/")
    parser.add_argument("--socket", type=Path, help="the socket to be made; otherwise it is made in --dir")
    parser.add_argument(
        "--heartbeat", type=Path, help="the file that the collector touches; refuse when it is old"
    )
    parser.add_argument("--socket-gid", type=int, help="the group that may connect (the edge's)")
    options = parser.parse_args()
    try:
        serve(options.dir, options.heartbeat, options.socket_gid, options.socket)
    except MeshwardError as error:
        print(f"{error.code}: {error.message}. {error.remedy}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
