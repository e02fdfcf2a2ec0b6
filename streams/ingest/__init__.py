"""Ingest: messages of the source topics in, journal blocks and dead letters out; no broker and no clock."""
