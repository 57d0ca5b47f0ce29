"""Qwen2.5-Omni and Qwen3-Omni: the Thinker alone, streamed. ``load.FAMILIES`` is what the registry lists."""
