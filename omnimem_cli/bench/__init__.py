"""Benchmarks on generated videos with known answers: accuracy, speed and memory by policy."""
