"""Every case, in the order of the table.

A case is a function that takes a :class:`Stage` and raises AssertionError, or
Unsupported. Its docstring is the claim. ``@case`` puts it into :data:`CASES`.
"""

from clients.conformance.cases import (
    delivery,
    endings,
    faults,
    infos,
    reconnecting,
    space_kinds,
    versions,
)
from clients.conformance.cases.registering import CASES, Case

__all__ = [
    "CASES",
    "Case",
    "delivery",
    "endings",
    "faults",
    "infos",
    "reconnecting",
    "space_kinds",
    "versions",
]
