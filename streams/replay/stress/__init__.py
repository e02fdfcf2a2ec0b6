"""What a fall of prices would do to accounts as they stand: shock vectors, real crashes, and the cascade after them."""
