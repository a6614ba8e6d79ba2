"""The IPython side: magics and what they show."""
