"""What Spoolhouse costs beside what the engine itself can do, measured in one run; `make bench` prints the table."""
