"""The doctor: checks settings, spool and server, and names what will go wrong, with the fix."""
