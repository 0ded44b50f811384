"""The doctor: what will go wrong with these settings, this spool and this server, why it matters, and the mend."""
