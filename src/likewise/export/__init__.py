"""What other tools load: a run's model in their own formats. Each format is one file here; a verb chooses."""
