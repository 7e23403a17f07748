"""Picture files in and out: pixels, metadata, captions."""
