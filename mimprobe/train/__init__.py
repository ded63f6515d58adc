"""The bundled trainer: SimMIM and supervision for a ViT of one's own."""
