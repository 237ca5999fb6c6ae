"""From a path to a plan: inference of fields, presets, budget."""
