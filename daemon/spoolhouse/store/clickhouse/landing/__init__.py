"""Landing: what ClickHouse holds of a batch, and how the rest of it is brought there."""
