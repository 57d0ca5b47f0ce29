"""The budget: the bound of the KV memory that the user chose. Knows numbers and how they are typed; no memory."""

import re
from dataclasses import dataclass

from omnimem_cli.base.errors import UsageError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_FORMS = "Write entries (8192 or 8k), bytes (512MiB, 2GiB, 2GB) or auto."
LEAST_TYPED = 16
"""Entries. Whoever types fewer means thousands of them, or GiB."""


@dataclass(frozen=True)
class Budget:
    """The bound the user chose, in exactly one unit. Entries: visual + audio, averaged over layers."""

    entries: int | None = None
    bytes: int | None = None
    auto: bool = False

    def __str__(self) -> str:
        """As `parse_budget` reads it."""
        if self.auto:
            return "auto"
        return f"{self.bytes}B" if self.bytes is not None else str(self.entries)


def parse_budget(text: str, flag: str = "--budget") -> Budget:
    """ "8k" is 8192 entries, "2GiB" bytes. Raises UsageError naming the accepted forms."""
    cleaned = text.strip()
    if cleaned.lower() == "auto":
        return Budget(auto=True)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", cleaned)
    amount, unit = (float(match[1]), match[2].upper()) if match else (0.0, "")
    if match and unit in _UNITS and (size := int(amount * _UNITS[unit])) > 0:
        return Budget(bytes=size)
    scale = {"": 1, "K": 1024}.get(unit)
    if match is None or scale is None or (entries := int(amount * scale)) < 1:
        raise UsageError(f"{flag} {text!r} is not a budget.", _FORMS)
    return Budget(entries=entries)


def typed_budget(text: str, flag: str) -> Budget:
    """As ``parse_budget``, of what a person typed. Raises UsageError also for a few entries."""
    budget = parse_budget(text, flag)
    if budget.entries is not None and budget.entries < LEAST_TYPED:
        message = f"{flag} {text} would be {budget.entries} entries per layer, too few to hold a moment."
        raise UsageError(message, f"{budget}k is {1024 * budget.entries:,} entries, {budget}GiB are bytes.")
    return budget
