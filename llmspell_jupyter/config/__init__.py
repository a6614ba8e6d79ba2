"""Profiles, paths and environment: every setting enters the program through this room."""
