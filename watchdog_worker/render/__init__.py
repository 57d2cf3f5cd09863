"""A report as text. Pure: a value in, text out."""
