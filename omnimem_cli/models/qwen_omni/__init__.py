"""Qwen2.5-Omni and Qwen3-Omni: the Thinker alone, streamed. The registry lists ``FAMILIES`` of ``load`` and
``load_qwen3``."""
