"""A daemon's reports on itself: logs, metrics, health, heartbeat, status, and the HTTP server that shows them."""
