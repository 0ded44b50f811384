"""Event types as declarations, built-in or from files, and the foreign shapes that turn into them. Pure."""
