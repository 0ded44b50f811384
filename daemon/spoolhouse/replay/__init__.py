"""Sending again what a person asks for, without doubling what is there: rows of settled files, and rejected lines."""
