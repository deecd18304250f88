"""The Python API: translate, n-best lists, alignments, words that must appear.

    python examples/python_api.py [MODEL] [SENTENCE]

MODEL is a model file or a run folder; `sh examples/own_data/run.sh` makes runs/own_data in a minute.
"""

from __future__ import annotations

import sys

from seq2seq.inference.translator import Translator


def main(model: str = "runs/own_data", sentence: str = "The train leaves at ten past six.") -> None:
    """Translate one sentence in several ways."""
    translator = Translator.load(model)  # once; then any number of calls

    print("beam search:", *translator.translate([sentence]))
    print("greedy:     ", *translator.translate([sentence], beam_size=1))

    print("\nscore   log p   the three best outputs")
    (outputs,) = translator.translate_n_best([sentence], n_best=3)
    for output in outputs:
        print(f"{output.score:6.2f}  {output.log_prob:6.2f}  {output.text}")

    print("\ntarget word <- source word, where attention looks")
    ((best,),) = translator.translate_n_best([sentence], alignments=True)
    source, target = sentence.split(), best.text.split()
    for src, tgt in best.alignment or []:
        print(f"{target[tgt]} <- {source[src]}")

    print("\nbegun by us:", *translator.translate([sentence], prefixes=["Der Bus"]))
    print("with a term:", *translator.translate_n_best([sentence], terms=[["Bus"]])[0][0].text.split())


if __name__ == "__main__":
    main(*sys.argv[1:])
