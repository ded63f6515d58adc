"""What a representation is good for."""
