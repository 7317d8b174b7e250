"""The report is made of the same small models and digits as the figures."""

from tests.evaluating.conftest import exports, prepared

__all__ = ["exports", "prepared"]
