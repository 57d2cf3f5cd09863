"""Recorders' files that nobody wrote, for those who read them."""
