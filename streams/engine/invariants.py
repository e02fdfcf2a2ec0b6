"""What must always hold of a shard; a breach stops the worker before it sends anything."""


class InvariantViolation(RuntimeError):
    """A broken promise of the engine itself, never of its input."""
