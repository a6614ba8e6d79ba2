"""Model names and model files: which there are, and what they are."""
