"""`python -m meshward.audit --run RUN --state STATE`: the collector as a process."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
from pathlib import Path

import structlog

from meshward.audit.collector import Collector
from meshward.audit.keeping import load_mark
from meshward.audit.store import Store, StoreTouched
from meshward.kit import codes
from meshward.kit.errors import MeshwardError
from meshward.kit.exits import Exit
from meshward.kit.log import log_to

_GARBAGE = 100_000
"""Containers between two searches for circles: a round makes many containers, and no circle."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="meshward.audit", description="Join access logs into records.")
    parser.add_argument("--run", type=Path, required=True, help="the run directory, with edge/ and guards/")
    parser.add_argument("--state", type=Path, required=True, help="the state directory, for records.sqlite")
    arguments = parser.parse_args()
    os.umask(0o077)
    log_to(sys.stderr)
    log = structlog.get_logger(part="collector")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        store = Store(arguments.state, once=load_mark(arguments.run))
        for loss in store.noticed:
            log.warning(loss.sentence, code=codes.RECORDS_LOST.number, remedy=codes.RECORDS_LOST.remedy)
        collector = Collector(arguments.run, store, log)
        gc.freeze()
        gc.set_threshold(_GARBAGE)
        log.info("collecting")
        collector.run(stop)
        collector.close()
    except MeshwardError as error:
        log.error(error.message, code=error.code.number, remedy=error.remedy)
        if isinstance(error, StoreTouched):
            os._exit(
                Exit.FAULT
            )  # to close it would put into the file what is left of a journal that is not ours
        return Exit.FAULT
    log.info("stopped")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
