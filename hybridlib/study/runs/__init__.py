"""Finished runs: their keys, the files that keep their ranks, whether these are to be trusted, and packs of them."""
