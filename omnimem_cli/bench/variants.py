"""Policies as benchmarks compare them: with the settings of each, and the bits in which it keeps keys and values.

Knows settings as typed; runs nothing.
"""

from dataclasses import replace

from omnimem_cli.base.choices import KV_BITS
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.memory.policies import make_policy

_BITS = "bits="


def with_variant(settings: Settings, text: str) -> Settings:
    """``settings`` with the policy ``NAME[:KEY=VALUE]...``, of which ``bits=16|8|4`` are the memory's ``kv_bits``.

    Raises UsageError for a policy that cannot be made.
    """
    parts = text.split(":")
    policy = ":".join(part for part in parts if not part.startswith(_BITS))
    bits = [part.removeprefix(_BITS) for part in parts if part.startswith(_BITS)]
    if any(each not in map(str, KV_BITS) for each in bits) or len(bits) > 1:
        raise UsageError(f"{text} has no such bits.", f"Write {_BITS}N, N one of {', '.join(map(str, KV_BITS))}.")
    make_policy(policy)
    return replace(settings, policy=policy, kv_bits=int(bits[0]) if bits else settings.kv_bits)
