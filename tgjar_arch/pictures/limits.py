"""How large a picture may be; here, where nothing is imported, so that the command line can name it at once."""

MAX_PIXELS = 200_000_000  # larger than any camera's, and 0.6 GB as RGB
