"""omnimem: long videos through an audio-visual language model, inside a fixed KV-memory budget."""

__version__ = "0.1.0"
