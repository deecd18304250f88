"""Translate input lines as the options of `translate` say, in the process of the command or in a worker."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2seq.cli.line_format import Request, json_answer, parse_json, text_answer
from seq2seq.cli.process_options import load_translator
from seq2seq.cli.search_options import n_best_options
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.translation import Translation

JSONL = "jsonl"


class LineTranslator:
    """A loaded translator with the options of a command line.

    Args:
        args: the command line of `translate`.
        models: model files or run folders.

    Raises:
        ConfigError: an option that contradicts another or the models.
        DataError: the glossary cannot be read.
    """

    def __init__(self, args: argparse.Namespace, models: Sequence[str]) -> None:
        from seq2seq.inference.glossary import Glossary

        glossary = Glossary.read(args.glossary) if args.glossary else None
        self._args = args
        self._translator = load_translator(args, models)
        self._options: dict[str, Any] = n_best_options(args, self._translator.decode, args.n_best) | {
            "alignments": args.alignments,
            "confidence": args.confidence,
            "glossary": glossary,
            "split_sentences": args.split_sentences,
        }
        self._translator.check_options(prefixes=["-"] if args.prefix else None, **self._options)

    def request(self, number: int, line: str, prefix: str = "", format: str = "text") -> Request:
        """Return what an input line asks for; `error` says what prevents it."""
        request = self._with_language(parse_json(number, line) if format == JSONL else Request(number, line, prefix))
        if self._args.split_sentences and request.error is None and (request.prefix or request.terms):
            error = '"prefix" and "terms" are those of a whole line: leave out either them or --split-sentences'
            return dataclasses.replace(request, error=error)
        if request.prefix and request.error is None:
            try:
                self._translator.check_options(prefixes=[request.prefix], **self._options)
            except ConfigError as refusal:
                return dataclasses.replace(request, error=str(refusal))
        return request

    def check_language(self, format: str) -> None:
        """Check the target language of the command line, unless each line may name its own.

        Raises:
            ConfigError: the model does not have it, or has several and none is given.
        """
        if self._args.tgt_lang is not None or format != JSONL:
            self._translator.tag(self._args.tgt_lang)

    def _with_language(self, request: Request) -> Request:
        """Return the request with the target language of the command line unless it names one, or with an error."""
        language = request.tgt_lang or self._args.tgt_lang
        try:
            self._translator.tag(language)
        except ConfigError as error:
            return dataclasses.replace(request, error=request.error or str(error))
        return dataclasses.replace(request, tgt_lang=language)

    def answers(self, requests: Sequence[Request]) -> list[tuple[Request, list[Translation]]]:
        """Translate the requests without an error; a request whose terms this search cannot force gets one."""
        valid = [request for request in requests if request.error is None]
        terms = [request.terms for request in valid]
        try:
            outputs = self._translator.translate_n_best(
                [request.src for request in valid],
                prefixes=[request.prefix for request in valid],
                terms=terms if any(terms) else None,
                tgt_lang=[request.tgt_lang for request in valid],
                **self._options,
            )
        except ConfigError as error:
            if not any(terms):
                raise
            return self.answers(
                [dataclasses.replace(r, terms=[], error=str(error)) if r.terms else r for r in requests]
            )
        rows = iter(outputs)
        return [(request, next(rows) if request.error is None else []) for request in requests]

    def formatted(self, requests: Sequence[Request], format: str, source: str = "") -> list[str]:
        """Translate the requests and return the output lines of each; its error is also logged.

        Args:
            requests: lines of `source`.
            format: of the output.
            source: the file or block in which lines are numbered; empty: the input as a whole.
        """
        return [self._formatted(request, outputs, format, source) for request, outputs in self.answers(requests)]

    def _formatted(self, request: Request, outputs: Sequence[Translation], format: str, source: str) -> str:
        args = self._args
        if request.error is not None:
            sys.stderr.write(f"warning: {source and f'{source}, '}line {request.number}: {request.error}\n")
        if format == JSONL:
            return json_answer(request, outputs, self._translator.tokenizer, args.n_best > 1, args.alignments)
        return text_answer(
            request, outputs, args.n_best > 1, args.scores, alignments=args.alignments, confidence=args.confidence
        )
