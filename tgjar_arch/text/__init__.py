"""Text features, tokenizers and captions."""
