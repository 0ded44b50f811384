"""Spoolhouse's tests; README.md beside this file explains the rings."""
