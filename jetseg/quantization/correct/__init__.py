"""Corrections: changes of a float network by which it loses less in 8 bits; a file for each."""
