"""How aiokafka and Apache Kafka behave where the engine's exactly-once design leans on them."""
