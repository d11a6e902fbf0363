"""An instance is tried with the supervisor of the runtime's tests."""

from tests.runtime.conftest import start

__all__ = ["start"]
