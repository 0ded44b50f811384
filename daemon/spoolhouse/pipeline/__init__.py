"""The five stages. Alphabetical order is flow order; each stage ends when what feeds it ends."""
