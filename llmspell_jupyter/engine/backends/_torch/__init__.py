"""What the backends on torch share. Imports torch when a model is loaded, and not before."""
