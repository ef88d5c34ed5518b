"""Queries: which take the time, how they are planned, what is wrong with them."""
