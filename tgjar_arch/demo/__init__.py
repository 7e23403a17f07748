"""Hand-written captions of scikit-image's bundled photographs, for `tgjar demo`."""
