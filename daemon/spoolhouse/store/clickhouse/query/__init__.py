"""Questions to ClickHouse: `dialect` renders them, `reader` asks them."""
