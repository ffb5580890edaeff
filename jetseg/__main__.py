"""Lets `python -m jetseg` do what `jetseg` does."""

from jetseg.cli.main import main

main()
