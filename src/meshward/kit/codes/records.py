"""MW4xxx: records and the logs that they are made of."""

from __future__ import annotations

from meshward.kit.codes.code import Code

RECORDS_DAMAGED = Code(
    "MW4001",
    "The records are damaged.",
    (
        "move the file and its -wal and -shm aside, keep them, and start again: lines not yet read go into "
        "a new file"
    ),
)
RECORDS_OF_ANOTHER_FORMAT = Code(
    "MW4002",
    "The records were written in another format.",
    "run the meshward that wrote it, or move the file aside",
)
ANOTHER_COLLECTOR = Code(
    "MW4003", "Another collector writes to the records.", "stop it, or use another state directory"
)
NO_RECORDS = Code("MW4004", "There are no records.", "is `meshward up` running?")
RECORDS_UNWRITABLE = Code(
    "MW4005",
    "The records cannot be written.",
    "free the lock, the space or the permission; no line is lost meanwhile, the logs are read later",
)
LOG_UNREADABLE = Code("MW4006", "A log cannot be read.", "let the collector's user read it")
LOG_NOT_ERASED = Code(
    "MW4007",
    "Lines that were read cannot be erased from the logs.",
    "use a file system that can punch holes, and let the collector write to the file",
)
RECORDS_NOT_KEPT = Code(
    "MW4008",
    "Records are not kept.",
    "until that is mended the heartbeat stands still, and `audit.on_blind` decides about requests",
)
RECORDS_LOST = Code(
    "MW4009",
    "Records that were kept are not there any more.",
    "find out who was at STATE/records.*; what is lost cannot come back, so requests go on, and the loss stays noted",
)
RECORDS_TAKE_ALL = Code(
    "MW4010",
    "The records take all the room that the policy gives them.",
    "raise `audit.max_disk`, or keep records for a shorter time with `audit.retention`: none ends before that",
)
