"""Summarize, transcribe, ask: prompts in, a result out."""
