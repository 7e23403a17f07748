"""Pictures of results: comparisons as in the paper, attention maps."""
