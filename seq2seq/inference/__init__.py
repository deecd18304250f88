"""From text to text: the translator, ensembles, forced scoring, alignments."""
