"""The version of the package; `tgjar_arch.__version__` is the same."""

VERSION = '0.1.0'
