"""Event types: the declarations that validation, tables and rollups are derived from. Pure, but for `registry`."""
