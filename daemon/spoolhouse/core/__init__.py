"""Pure logic: declarations, decoding, packing, decisions. No asyncio, os, clock, logging or driver in here."""
