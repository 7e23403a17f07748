"""The networks that the paper's tables compare with, except EDSR, which is BasicSR's own."""
