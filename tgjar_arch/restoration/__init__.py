"""Restoring pictures with trained weights."""
