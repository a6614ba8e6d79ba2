"""Controls in the notebook: the bar of a pull and the model browser; core ipywidgets only."""
