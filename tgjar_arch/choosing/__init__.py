"""Choosing captions on the sender's side, by what they do to the restored picture."""
