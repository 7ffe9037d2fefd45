"""adtrie: a language model inside a bid deadline.

Data flows one way: models -> engine -> catalogue -> search -> the command line.
"""

__version__ = "0.1.0"
