"""The demo: a market, an exchange and 1,000 accounts that use the product by Kafka messages alone.

It knows the public messages, the topics and how to start a broker and a worker, and nothing of the engine.
"""
