"""History again: recordings of topics, folded without a broker, held against what was sent."""
