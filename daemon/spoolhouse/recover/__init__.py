"""Recovery on request: restores lost rows, resubmits lines and files, and compares files with their rows."""
