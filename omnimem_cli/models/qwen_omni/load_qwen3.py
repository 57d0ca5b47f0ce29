"""A Qwen3-Omni folder to an adapter, as a Qwen2.5-Omni folder."""

from transformers import Qwen3OmniMoeThinkerForConditionalGeneration

from omnimem_cli.models.qwen_omni.load import QwenOmniFamily
from omnimem_cli.models.qwen_omni.qwen3 import Qwen3OmniAdapter

FAMILIES = (
    QwenOmniFamily(
        "qwen3-omni",
        ("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
        Qwen3OmniMoeThinkerForConditionalGeneration,
        Qwen3OmniAdapter,
    ),
)
