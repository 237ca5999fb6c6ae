"""Drawing: samples, prompts, grammars, editing, outpainting, tiling, contact sheets, interpolation."""
