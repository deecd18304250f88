"""What is shown of a run: the page that explains it, its model card, and the HTML that every page is made of."""

SENTENCES = 50
"""Sentences on a page by default."""
