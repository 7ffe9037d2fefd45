"""Normalised rows, their trie over token sequences, and snapshots. Knows no model and no search."""
