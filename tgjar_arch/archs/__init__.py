"""Networks: the generators, their baselines, encoders and discriminator."""
