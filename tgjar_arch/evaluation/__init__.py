"""What `tgjar evaluate` does: restore a test set by several methods, measure, and set the tables of the paper."""
