"""Networks by role: recipes of sizes that build an encoder, a decoder, a denoiser or a predictor between spaces."""
