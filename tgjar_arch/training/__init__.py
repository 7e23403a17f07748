"""The pipeline around BasicSR's trainer: option files, resuming."""
