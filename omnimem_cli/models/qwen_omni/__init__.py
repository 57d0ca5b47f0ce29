"""Qwen2.5-Omni and Qwen3-Omni: the Thinker alone, streamed. ``load.load_adapter`` reads either from a folder."""
