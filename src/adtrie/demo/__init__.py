"""A real model demonstrated: answers, quality and speed, before and after compression, and one ad text."""
