"""See how vision models trained in different ways differ inside."""

__version__ = "0.1.0"
