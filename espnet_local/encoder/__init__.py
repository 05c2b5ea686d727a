"""The streaming XLSR encoder."""
