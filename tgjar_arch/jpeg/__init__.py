"""The JPEG format: codec, quantisation tables, quality."""
