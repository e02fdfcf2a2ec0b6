"""Compile every kernel before a worker joins its group; instant once the compiled code is cached."""

from streams.engine import warmup as engine
from streams.ingest import warmup as ingest
from streams.kafka import batches, changelog, records
from streams.margin import warmup as margin


def warm_up() -> int:
    """Run every kernel once and return what came of it (so that the work cannot be skipped)."""
    return (
        engine.warm_up()
        + ingest.warm_up()
        + margin.warm_up()
        + sum(module.warm_up() for module in (records, batches, changelog))
    )


if __name__ == "__main__":
    print(f"kernels compiled, {warm_up()} records")
