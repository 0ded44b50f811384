"""The five stages. Alphabetical order is flow order; each stage ends when its input ends."""
