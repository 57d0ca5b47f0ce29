"""A tiny random checkpoint of every family."""

from salmonn_tiny import FAMILIES, tiny_salmonn
from tiny import tiny_omni
from tiny_qwen3 import tiny_qwen3_omni

MAKERS = {
    "qwen2.5-omni": tiny_omni,
    "qwen3-omni": tiny_qwen3_omni,
    **{family: lambda path, family=family: tiny_salmonn(path, family) for family in FAMILIES},
}
