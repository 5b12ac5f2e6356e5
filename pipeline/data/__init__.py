"""Data sources and the canonical dataset made of them."""
