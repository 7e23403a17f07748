"""How much text is read. Captions are a line or two; what is longer comes from a mistake or from somebody's malice."""

MAX_CAPTION = 100_000  # characters of one caption, more than the 65,533 bytes of a JPEG comment
MAX_CAPTIONS = 1000  # of one image
MAX_TEXT_FILE = 1_000_000  # bytes of a text file beside an image
MAX_METADATA = 500_000_000  # bytes of a metadata.jsonl or metadata.csv, which may be about a million images
JUDGED = 100_000  # bytes from which the encoding of a text is told
