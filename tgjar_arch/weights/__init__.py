"""Weights files, checkpoints and shipped weights."""
