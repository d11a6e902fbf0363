"""Identity-aware routing for model APIs: one policy, enforced at every hop, every answer traced to a person."""

__version__ = "0.1.0"
