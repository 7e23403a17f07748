"""Measurements, run as `python -m benchmarks.NAME` from the checkout."""

import tgjar_arch  # noqa: F401  before basicsr, whose import it mends
