"""Rows to parts: the batch engine and the jobs that it runs."""
