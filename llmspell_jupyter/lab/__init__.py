"""The Jupyter Server extension: the user's engine for pages of JupyterLab and Notebook."""
