"""Corpus preparation: every corpus becomes the same Kaldi data directories."""
