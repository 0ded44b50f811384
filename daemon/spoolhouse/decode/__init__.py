"""Decode: the bytes of JSONL lines to canonical rows, or to rejected lines with the reason. Pure."""
