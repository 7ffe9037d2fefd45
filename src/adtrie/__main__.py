"""`python -m adtrie` is the command line."""

from adtrie.cli import main

if __name__ == "__main__":
    main()
