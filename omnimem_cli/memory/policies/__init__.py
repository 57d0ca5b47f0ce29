"""One small dataclass per method. To add one: write its file, add one line to ``POLICIES``."""

import dataclasses

from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.policies.full import Full
from omnimem_cli.memory.policies.hermes import Hermes
from omnimem_cli.memory.policies.infinipot_v import InfiniPotV
from omnimem_cli.memory.policies.key_norm import KeyNorm
from omnimem_cli.memory.policies.omnimem import OmniMem
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.policies.salience import Salience
from omnimem_cli.memory.policies.sliding_window import SlidingWindow
from omnimem_cli.memory.policies.snapkv import SnapKV
from omnimem_cli.memory.policies.streammem import StreamMem
from omnimem_cli.memory.policies.uniform import Uniform

POLICIES: dict[str, type] = {
    "omnimem": OmniMem,
    "salience": Salience,
    "uniform": Uniform,
    "sliding-window": SlidingWindow,
    "key-norm": KeyNorm,
    "snapkv": SnapKV,
    "infinipot-v": InfiniPotV,
    "streammem": StreamMem,
    "hermes": Hermes,
    "full": Full,
}


def make_policy(text: str) -> Policy:
    """``NAME[:key=value]...`` to a policy. Raises UsageError naming the names, keys or values there are."""
    name, *settings = text.split(":")
    if name not in POLICIES:
        raise UsageError(f"There is no policy {name!r}.", f"Choose one of: {', '.join(POLICIES)}.")
    kinds = {f.name: type(f.default) for f in dataclasses.fields(POLICIES[name]) if f.init}
    values = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in kinds or not value:
            raise UsageError(
                f"Policy {name} has no setting {setting!r}.",
                f"Its settings are: {', '.join(f'{k}=...' for k in kinds) or 'none'}.",
            )
        values[key] = _convert(name, key, value, kinds[key])
    try:
        return POLICIES[name](**values)
    except ValueError as error:
        raise UsageError(f"Policy {name}: {error}.") from None


def check_split(policy: Policy) -> None:
    """Raise UsageError for a policy with which pictures and sound share the budget: no ratio divides it."""
    if policy.pool != "split":
        name = name_of(policy)
        hint = f"Drop it, or use --policy {name}:pool=split." if policy.bounded else "Drop it."
        raise UsageError(f"--av-ratio has no effect with policy {name}: no budget is divided.", hint)


def check_focus(policy: Policy) -> None:
    """Raise UsageError for a policy that has no use for a focus."""
    if not policy.takes_focus:
        able = ", ".join(name for name, kind in POLICIES.items() if kind.takes_focus)
        raise UsageError(f"Policy {name_of(policy)} cannot follow a focus.", f"Drop the focus, or use one of: {able}.")


def name_of(policy: Policy) -> str:
    """What `--policy` calls it."""
    return next(name for name, kind in POLICIES.items() if kind is type(policy))


def _convert(name: str, key: str, value: str, kind: type):
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        return kind(value)
    except (ValueError, KeyError):
        raise UsageError(f"Policy {name}: {key}={value} is not a {kind.__name__}.") from None
