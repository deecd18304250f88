"""Draw the attention weights of one translation as a heat map: source words are columns, target words rows.

    python scripts/alignment_picture.py MODEL --text "A man is eating." --output alignment.svg

A row sums to 1 minus the weight on EOS. `--pieces` draws the tokens of the network, EOS included, with rows that sum
to 1. Darker cells have larger weights; weights from 0.1 are written as numbers. The same command writes the same file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seq2seq.atomic_files import write_atomically
from seq2seq.cli.exit_status import run
from seq2seq.cli.output_file import check_output
from seq2seq.cli.process_options import CommandParser
from seq2seq.config.model import AttentionName
from seq2seq.config.runtime import RuntimeConfig
from seq2seq.errors import ConfigError, DataError
from seq2seq.inference.translator import Translator
from seq2seq.runtime import configure

END = "(end)"
CELL_INCHES = 0.42
MIN_LABEL_WEIGHT = 0.1
SALT = "seq2seq"  # ids in the SVG are hashes with this salt instead of random


class Picture(NamedTuple):
    """Attention weights [target, source] and the labels of columns and rows."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help=".safetensors file, or a run folder with best.safetensors")
    parser.add_argument("--text", required=True, help="sentence to translate")
    parser.add_argument("--output", required=True, metavar="FILE", help="image to write: .svg, .png or .pdf")
    parser.add_argument("--pieces", action="store_true", help="draw subword tokens and EOS instead of words")
    parser.add_argument("--threads", type=int, help="CPU threads (default: chosen by torch)")
    return run(lambda: translate_and_draw(parser.parse_args(argv)))


def translate_and_draw(args: argparse.Namespace) -> None:
    """Translate the text, print the translation and draw the weights.

    Raises:
        ConfigError: matplotlib is not installed, or the model has no attention.
        DataError: the text or its translation is empty, or the text is too long.
    """
    check_matplotlib()
    check_output(args.output, [args.model])
    configure(RuntimeConfig(threads=args.threads))
    translator = Translator.load(args.model, device="cpu", precision="fp32")
    if translator.network.config.attention is AttentionName.none:
        raise ConfigError(f"{args.model} was trained with model.attention=none: there is no attention to draw")
    picture = (by_pieces if args.pieces else by_words)(translator, args.text)
    if not picture.source or not picture.target:
        raise DataError("nothing to draw: the sentence or its translation is empty")
    print(" ".join(picture.target))
    draw(picture, args.output)


def by_words(translator: Translator, text: str) -> Picture:
    """Return the attention weights between the words of the text and of its best translation.

    Raises:
        DataError: the text is so long that it is translated in parts.
    """
    best = translator.translate_n_best([text], alignments=True)[0][0]
    if best.attention is None and best.text:
        raise DataError(
            f"the text has more than {translator.max_part_tokens} tokens and is translated in parts: shorten it"
        )
    return Picture(text.split(), best.text.split(), best.attention or [])


def by_pieces(translator: Translator, text: str) -> Picture:
    """Return the attention weights between the tokens of both sides, EOS included."""
    (source,) = translator.tokenizer.encode_src([text])
    target = translator.translate_n_best([text])[0][0].ids
    if not source or not target:
        return Picture([], [], [])
    (forced,) = translator.force_decode([source], [target])
    names = translator.tokenizer.src_pieces(source), translator.tokenizer.tgt_pieces(target)
    return Picture([*names[0], END], [*names[1], END], forced.attn_weights.tolist())


def draw(picture: Picture, path: str) -> None:
    """Write the heat map to `path`, whose ending gives the format.

    Raises:
        ConfigError: matplotlib is not installed.
        DataError: the file cannot be written.
    """
    check_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns, rows = len(picture.source), len(picture.target)
    # Keep text as text: smaller and searchable.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": SALT}):
        size = (CELL_INCHES * columns + 1.2, CELL_INCHES * rows + 0.9)
        figure, axes = pyplot.subplots(figsize=size, layout="constrained")
        axes.pcolormesh(picture.weights, cmap="Blues", vmin=0, vmax=1, edgecolors="0.88", linewidth=0.4)
        axes.set_xticks(
            [i + 0.5 for i in range(columns)], picture.source, rotation=60, ha="left", rotation_mode="anchor"
        )
        axes.set_yticks([i + 0.5 for i in range(rows)], picture.target)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        for j, row in enumerate(picture.weights):
            for i, weight in enumerate(row):
                if weight >= MIN_LABEL_WEIGHT:
                    colour = "white" if weight > 0.6 else "black"
                    text = f"{weight:.1f}".lstrip("0")
                    axes.text(i + 0.5, j + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
        metadata = {"Date": None} if path.endswith(".svg") else None  # the same picture gives the same file
        ending = Path(path).suffix[1:]
        try:
            write_atomically(Path(path), lambda file: figure.savefig(file, format=ending, metadata=metadata, dpi=150))
        except ValueError as error:  # unknown ending
            raise DataError(f"cannot write {path}: {error}") from error
        pyplot.close(figure)


def check_matplotlib() -> None:
    """Raise ConfigError if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("drawing needs matplotlib: pip install 'seq2seq-lstm[plots]', or matplotlib alone") from None


if __name__ == "__main__":
    sys.exit(main())
