"""The models of both stages, as BasicSR's trainer runs them."""
