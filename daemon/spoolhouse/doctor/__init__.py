"""The doctor: checks settings, spool and server, and says what will fail, with the fix."""
