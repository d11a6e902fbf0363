"""Where in RUN the collector and those who depend on it meet."""

from __future__ import annotations

HEARTBEAT = "audit/heartbeat"
"""Its mtime is at most two seconds old while records are kept; what it says is for people."""
CONTROL = "control"
"""The supervisor's own directory."""
ALL_READ = "audit/all-read"
"""Written by a collector that was told to stop and has read every line of every log."""
CHANGES = "control/changes.log"
"""What `apply.changes` writes, a line for each change of the instance."""
