"""Policies as benchmarks compare them: with their settings, the bits of keys and values, and what becomes of stills.

Knows settings as typed; runs nothing.
"""

from dataclasses import replace

from omnimem_cli.base.choices import KV_BITS, STILLS
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.policies import make_policy

_OF_THE_WATCH = {"bits": ("kv_bits", KV_BITS), "stills": ("stills", STILLS)}
"""What else a row may set: the setting of each word, and its values."""


def with_variant(settings: Settings, text: str) -> Settings:
    """``settings`` with the policy ``NAME[:KEY=VALUE]...``, some of whose keys are settings of the watch.

    Raises UsageError for a policy that cannot be made.
    """
    parts = [part.partition("=") for part in text.split(":")]
    own = {key: value for key, _, value in parts if key in _OF_THE_WATCH}
    policy = ":".join("".join(part) for part in parts if part[0] not in _OF_THE_WATCH)
    if len(own) < sum(key in _OF_THE_WATCH for key, _, _ in parts):
        raise UsageError(f"{text} sets something twice.", "Name each setting once.")
    make_policy(policy)
    return replace(settings, policy=policy, **dict(_typed(text, key, value) for key, value in own.items()))


def _typed(text: str, key: str, value: str) -> tuple[str, int | str]:
    """Name and value of a setting. Raises UsageError for a value that it does not take."""
    name, values = _OF_THE_WATCH[key]
    for known in values:
        if value == str(known):
            return name, known
    raise UsageError(f"{text} has no such {key}.", f"Write {key}= and one of {', '.join(map(str, values))}.")
