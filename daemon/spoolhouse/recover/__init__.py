"""Recovery on request: lost rows, rejected lines and failed files are sent once more, and compared with their files."""
