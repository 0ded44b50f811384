"""What ClickHouse has of a batch, and how the rest is brought there. Tokens prevent doubles; this is the proof."""
