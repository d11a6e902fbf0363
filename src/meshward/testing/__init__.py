"""Fakes and harnesses to test one's own policy with: docs/testing-your-policy.md shows how.

    Decisions   what the policy says, asked of the definition
    running     a whole instance of it, with stand-ins for all that is outside
    Issuer      an issuer whose tokens have any shape
    Recorder    a model server that writes down what reaches it

No instance at work uses it, and it needs no pytest.
"""

from meshward.testing.decisions import Decisions
from meshward.testing.instance import Reply, RunningInstance, running
from meshward.testing.issuer import Issuer
from meshward.testing.recorder import Received, Recorder, Stream, json_answer, openai_event, tgi_event
from meshward.testing.stand_ins import StandIns
from meshward.testing.waiting import eventually

__all__ = [
    "Decisions",
    "Issuer",
    "Received",
    "Recorder",
    "Reply",
    "RunningInstance",
    "StandIns",
    "Stream",
    "eventually",
    "json_answer",
    "openai_event",
    "running",
    "tgi_event",
]
