"""The codes of what can be wrong with a policy: MW00xx. A code keeps its meaning for ever."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CODES: Mapping[str, str] = MappingProxyType(
    {
        "MW0000": "More problems than are shown.",
        "MW0001": "The policy cannot be read from disk.",
        "MW0002": "The policy is too large, has too many values, or is nested too deep.",
        "MW0003": "Not UTF-8 text, or a character that is not seen as itself.",
        "MW0004": "Not YAML.",
        "MW0005": "YAML that is not taken: anchors, aliases, tags, directives, a second document.",
        "MW0006": "A key or a name is given twice.",
        "MW0007": "A key is not text.",
        "MW0008": "A number that is not taken: a fraction, an odd spelling, more than 15 digits.",
        "MW0009": "The policy is empty.",
        "MW0010": "An unknown key.",
        "MW0011": "A key is missing.",
        "MW0012": "A value has the wrong type, or there is none.",
        "MW0013": "Not a name.",
        "MW0014": "Not one of the words that are known here.",
        "MW0015": "A value does not follow its grammar.",
        "MW0016": "Empty, too long, too small or too large.",
        "MW0020": "A reference to nothing.",
        "MW0021": "A name, alias or id that means two things.",
        "MW0022": "A route that means two things.",
        "MW0023": "Traffic to nowhere.",
        "MW0024": "A line that does not say who.",
        "MW0025": "An issuer's key that its profile needs, or has no use for.",
        "MW0026": "A key that `from` needs, or has no use for.",
        "MW0027": "A part that says nothing and looks as if it did.",
        "MW0028": "A name that is taken.",
        "MW0029": "Sealed for nobody.",
        "MW0030": "Two versions with one DNS name.",
        "MW0031": "A server that is listed twice.",
        "MW0050": "Lint: a law about models that do not exist.",
        "MW0051": "Lint: a secret that would cross a network in clear.",
    }
)
