"""Metrics that BasicSR's validation finds by name."""
