"""What a daemon reports of itself: logs, metrics, health, heartbeat, status, and the HTTP server that shows them."""
