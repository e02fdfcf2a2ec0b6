"""Slow, obvious models in `fractions.Fraction`, written from the rules and sharing no line with the engine."""
