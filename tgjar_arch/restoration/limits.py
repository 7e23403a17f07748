"""Limits that the help of the command line names; here, where nothing is imported, so that it comes at once."""

MIN_TILE = 64  # pixels a side
ATTENTION_PIXELS = 2_000_000  # in one piece: 18 words then take 2.4 GB on a CPU, 0.9 of them for the libraries
MAX_STRENGTH = 2  # beyond it there is nothing but noise
