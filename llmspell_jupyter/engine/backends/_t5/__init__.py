"""What the backends for T5 share, whichever library computes."""
