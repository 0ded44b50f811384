"""The HTTP API: questions about what has landed, and their answers, as JSON."""
