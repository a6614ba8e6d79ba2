"""Agents: a model with instructions and a memory of the conversation."""
