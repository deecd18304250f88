"""`draw attention`: the attention of a translation, or of a given one, as a heat map."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from seq2seq.cli.draw.outputs import add_lines, add_picture_output, choose_lines, picture_paths
from seq2seq.cli.process_options import (
    CommandParser,
    add_ensemble_weights,
    add_process_options,
    add_tgt_lang,
    argument_text,
    load_translator,
    model_list,
    path_type,
)
from seq2seq.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seq2seq.inference.forced_alignment import AlignedPair
    from seq2seq.inference.translator import Translator

DESCRIPTION = """\
Draw the attention weights of translations: source words are columns, target words rows.

A row sums to 1 minus the weight on EOS. --pieces draws the tokens of the network, EOS included, in rows that sum to 1.
Darker cells have larger weights; weights from 0.1 are written as numbers. The columns of a right-to-left source begin
on the right.
"""


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Add the parser of the subcommand and return it."""
    made = subparsers.add_parser(
        "attention",
        help="attention weights as a heat map",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "model", metavar="MODEL", help="model file or run folder; several, comma-separated, form an ensemble"
    )
    made.add_argument("--text", action="append", metavar="TEXT", help="sentence to translate (repeatable)")
    made.add_argument(
        "--tgt-text",
        action="append",
        metavar="TEXT",
        help="draw the attention while this translation is generated instead of the model's own; one for each --text",
    )
    made.add_argument(
        "--src", "--input", type=path_type, metavar="FILE", help="sentences to translate, instead of --text; -: stdin"
    )
    made.add_argument(
        "--tgt", type=path_type, metavar="FILE", help="translations to draw, line-aligned with --src, as --tgt-text"
    )
    add_lines(made)
    made.add_argument("--pieces", action="store_true", help="draw subword tokens and EOS instead of words")
    add_picture_output(made)
    add_tgt_lang(made)
    add_ensemble_weights(made)
    add_process_options(made, int8=False)
    return made


def main(args: argparse.Namespace) -> None:
    """Translate the sentences, or force the given translations, and draw their attention.

    Raises:
        ConfigError: options that contradict each other, matplotlib is not installed, or a model without attention.
        DataError: a sentence or its translation is empty or too long.
        StorageError: an image cannot be written.
    """
    from seq2seq.cli.progress import progress
    from seq2seq.inference.forced_alignment import check_attention
    from seq2seq.pictures.attention import attention_figure
    from seq2seq.pictures.figure import save, style

    with style():  # fails at once if matplotlib is missing
        pass
    models = model_list(args.model)
    sources, targets, numbers = sentences(args)
    paths = picture_paths(args, numbers, [*models, *filter(None, (args.src, args.tgt))])
    translator = load_translator(args, models)
    check_attention(translator)
    name = "given translation" if targets else "translation"
    with progress([], "-", 0, total=len(paths)) as advance:
        for i, (number, path) in enumerate(zip(numbers, paths, strict=True)):
            target = targets[i] if targets else None
            pair = attention(translator, sources[i], target, args, f"{args.src or '--text'}:{number}")
            save(attention_figure(pair.src, pair.tgt, pair.attention, tgt_name=name), path)
            sys.stdout.write(f"{path}\n")
            advance(1)


def sentences(args: argparse.Namespace) -> tuple[list[str], list[str], list[int]]:
    """Return the sources, their given translations (or none), and the numbers of the lines.

    Raises:
        ConfigError: options that contradict each other.
        DataError: files that are not parallel, or without the line.
    """
    from seq2seq.cli.aligned_files import read_aligned

    if bool(args.text) == bool(args.src):
        raise ConfigError("give the sentences either as --text TEXT or as --src FILE")
    for invalid, message in (
        (args.text and args.tgt, "--tgt needs --src FILE; with --text, give the translation as --tgt-text"),
        (args.text and args.lines, "--lines needs --src FILE"),
        (args.src and args.tgt_text, "--tgt-text needs --text; with --src, give the translations as --tgt FILE"),
    ):
        if invalid:
            raise ConfigError(message)
    if args.text:
        texts = [[*map(argument_text, given)] for given in (args.text, args.tgt_text or [])]
        if texts[1] and len(texts[1]) != len(texts[0]):
            raise ConfigError(f"--tgt-text: {len(texts[1])} translations for {len(texts[0])} times --text")
        return texts[0], texts[1], list(range(1, len(texts[0]) + 1))
    files = read_aligned([args.src, *filter(None, [args.tgt])])
    numbers = choose_lines(args.lines, len(files[0]), args.src)
    chosen = [[lines[number - 1] for number in numbers] for lines in files]
    return chosen[0], chosen[1] if args.tgt else [], numbers


def attention(
    translator: Translator, source: str, target: str | None, args: argparse.Namespace, place: str
) -> AlignedPair:
    """Return the attention of a sentence and its translation (None: the model's own), by words or by pieces.

    Raises:
        DataError: a side is empty, or the sentence is too long to be translated, or forced, as one.
    """
    from seq2seq.inference.forced_alignment import AlignedPair, align_pairs, align_tokens
    from seq2seq.inference.text import valid_unicode

    if not source.split():
        raise DataError(f"{place}: the sentence is empty: there is nothing to draw")
    source, tokenizer = valid_unicode(source), translator.tokenizer
    (src_ids,) = tokenizer.encode_src([translator.natural_line(source) if target is None else source])
    pair: AlignedPair | None = None
    if target is None:
        if len(src_ids) > translator.max_part_tokens:
            limit = translator.max_part_tokens
            raise DataError(f"{place}: more than {limit} tokens are translated in parts: shorten the sentence")
        best = translator.translate_n_best([source], alignments=True, tgt_lang=args.tgt_lang)[0][0]
        text, ids = best.text, best.ids
        pair = AlignedPair(words(source), words(text), best.attention or [], best.alignment or [])
    else:
        text = valid_unicode(target)
        (ids,) = tokenizer.encode_tgt([text])
        (pair,) = align_pairs(translator, [source], [text], tgt_lang=args.tgt_lang)
    if not text.split():
        raise DataError(f"{place}: the translation is empty: there is nothing to draw")
    if args.pieces:
        (pair,) = align_tokens(translator, [[*translator.tags.ids(args.tgt_lang), *src_ids]], [ids])
    if pair is None:
        raise DataError(f"{place}: the pair has too many tokens: shorten it")
    return pair


def words(text: str) -> list[str]:
    """Return the words of a text, as alignments count them."""
    from seq2seq.data.text.writing import word_spans

    return [text[begin:end] for begin, end in word_spans(text)]
