"""Libraries that run models: a module here is a backend by being there."""
