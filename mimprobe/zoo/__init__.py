"""Checkpoints: what is known about them, and how they are loaded."""
