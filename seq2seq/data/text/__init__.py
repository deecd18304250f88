"""Sentence pairs as text: cleaning, splitting, editing, looking at them; scripts and their words."""
