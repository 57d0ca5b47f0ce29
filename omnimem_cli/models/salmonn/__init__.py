"""video-SALMONN 2+: a Qwen-VL backbone with a Whisper and Q-Former audio tower, two tokens a second.

``qwen25`` is the Qwen2.5-VL family (3B, 7B, 72B), ``qwen3`` the Qwen3-VL family of the OmniMem paper (4B, 8B);
``load.FAMILIES`` is what the registry lists.
"""
