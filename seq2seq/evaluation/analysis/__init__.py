"""Where translations fail: scores by kind of sentence and word, faults, differences between systems, examples.

`analyse` returns an `Analysis`: tables and lists of sentences, which printers show without knowing what they are about.
"""

from seq2seq.evaluation.analysis.analyse import analyse
from seq2seq.evaluation.analysis.robustness import Variant
from seq2seq.evaluation.analysis.structure import Analysis, Example, Examples, Section

__all__ = ["Analysis", "Example", "Examples", "Section", "Variant", "analyse"]
