"""The spool on disk: names, safe file operations, the journal, an instance's own folder."""
