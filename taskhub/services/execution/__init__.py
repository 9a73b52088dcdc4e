"""Claim jobs for a child and settle what became of them."""
