"""Text to text: translator, ensembles, forced scoring, minimum Bayes risk, glossary, alignment, shortlist."""
