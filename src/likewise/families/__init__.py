"""Ways to learn a distribution over a space and to draw from it: vae, gan, autoregressive, flow, and baselines."""
