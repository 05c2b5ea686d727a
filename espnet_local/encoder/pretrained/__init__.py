"""Weights of published wav2vec 2.0 / XLSR encoders, from the files they come in."""
