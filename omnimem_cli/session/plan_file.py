"""A plan file, which `omnimem calibrate` writes for one model: budgets per layer, and the rule of its evidence.

Knows the form of the file and the shape of a model; knows no memory and no video. A plan
without a rule is an older one, or that of a model for which none was found.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base.errors import UsageError
from omnimem_cli.models.adapter import Adapter

PLAN_SCHEMA = "omnimem/plan/1"
MOST_HEADS = 8


def shape_of(adapter: Adapter) -> tuple[int, int]:
    """Layers of a model's decoder, and query heads of each."""
    text = adapter.model.config.get_text_config()
    return text.num_hidden_layers, text.num_attention_heads


@dataclass(frozen=True)
class EvidenceRule:
    """``heads``: (layer, query head) pairs whose attention counts; ``least_score``: below it there is no evidence."""

    heads: tuple[tuple[int, int], ...]
    least_score: float

    @classmethod
    def read(cls, content: dict, adapter: Adapter) -> "EvidenceRule":
        """From plain values. Raises KeyError, TypeError and ValueError for what is no rule of this model."""
        heads = tuple((int(layer), int(head)) for layer, head in content["heads"])
        rule = cls(heads, float(content["least_score"]))
        layers, query_heads = shape_of(adapter)
        inside = all(0 <= layer < layers and 0 <= head < query_heads for layer, head in heads)
        if not (inside and len(set(heads)) == len(heads) and 1 <= len(heads) <= MOST_HEADS):
            raise ValueError(f"evidence needs 1 to {MOST_HEADS} different heads of {query_heads} in {layers} layers")
        if not 0 <= rule.least_score <= 1:
            raise ValueError("the least score of evidence is no number from 0 to 1")
        return rule


@dataclass(frozen=True)
class CalibratedPlan:
    """``budgets``: (audio, visual) per layer; ``evidence``: None where it was not calibrated."""

    budgets: list[tuple[int, int]]
    evidence: EvidenceRule | None


def read_plan(path: str | Path, adapter: Adapter) -> CalibratedPlan:
    """A plan file. Raises UsageError when it is not a plan for this model."""
    model, (layers, _) = adapter.name, shape_of(adapter)
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        made_for, pairs = content["model"]["name"], content["budgets"]
        budgets = [(int(audio), int(visual)) for audio, visual in pairs]
        same = made_for == model and len(budgets) == layers
        rule = EvidenceRule.read(content["evidence"], adapter) if same and "evidence" in content else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a plan: {error}.", "`omnimem calibrate` writes one.") from error
    if not same:
        raise UsageError(
            f"{path} is a plan for {made_for} with {len(budgets)} layers; this is {model} with {layers}.",
            "Calibrate with the model that you use.",
        )
    if any(min(pair) < 0 or sum(pair) < 1 for pair in budgets):
        raise UsageError(f"{path} gives a layer no entries.", "`omnimem calibrate` writes one that does.")
    return CalibratedPlan(budgets, rule)
