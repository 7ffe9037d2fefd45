"""The packed checkpoint: canonical codes, their layout in panels, and the file that holds them."""
