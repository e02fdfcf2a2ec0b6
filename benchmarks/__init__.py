"""Measurements of the engine and of its peers: `python -m benchmarks`, one report. See docs/benchmarks.md."""
