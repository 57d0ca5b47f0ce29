"""Bounded KV memory for any transformers decoder stack: attend, score, keep. Knows no model and no media."""
