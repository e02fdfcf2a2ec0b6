"""The same job in other frameworks, each as its own users would write it: run beside the engine, on the same records.

Every peer is a program ``<command> --broker HOST:PORT --prefix P --partitions N`` that runs until SIGTERM. It reads
``P.fills`` (key: the account) and ``P.prices`` (no key; each price is sent to every partition, so the partition of an
account has it) and writes ``P.breaches`` (key: the account). The job itself is in ``account.py``.
"""
