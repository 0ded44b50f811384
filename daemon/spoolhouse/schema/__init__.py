"""The tables that Spoolhouse owns: rendered from declarations, compared with a live database, brought up to date."""
