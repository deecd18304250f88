"""From parts of lines to translations: searches in batches, detokenised, reranked and annotated."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from seq2seq.config.data import DataConfig
from seq2seq.config.decode import DecodeConfig, SearchName, UtilityName
from seq2seq.data.text.bleu_tokenizer import DEFAULT, bleu_tokenizer
from seq2seq.errors import NotFiniteError
from seq2seq.inference.annotation import Annotations, ForceDecode, annotate
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.line_parts import LineEncoder, LinePart
from seq2seq.inference.mbr import select_by_utility
from seq2seq.inference.reranking import Reranker, rerank_outputs
from seq2seq.inference.target_order import mirrored_hypothesis, mirrored_input
from seq2seq.inference.translation import Translation, detokenise
from seq2seq.kernels import bindings
from seq2seq.search.batched_search import batches, num_hypotheses, search
from seq2seq.search.protocols import Hypothesis


class PartSearch:
    """Translates parts of lines with the networks of a translator, which sets evaluation mode and precision."""

    def __init__(
        self,
        ensemble: Ensemble,
        encoder: LineEncoder,
        force_decode: ForceDecode,
        device: torch.device,
        data: DataConfig | None,
    ) -> None:
        """`data` has the BLEU tokenizer of mbr_utility=bleu."""
        self._ensemble, self._encoder, self._force_decode = ensemble, encoder, force_decode
        self._device, self._data = device, data

    def __call__(
        self,
        parts: Sequence[LinePart],
        languages: Sequence[str],
        n_best: int,
        decode: DecodeConfig,
        annotations: Annotations,
        rerankers: Sequence[Reranker],
    ) -> list[list[Translation]]:
        """Search in batches of similar length; return the outputs, in `languages`, in the order of `parts`."""
        outputs: list[list[Translation]] = [[] for _ in parts]
        banned, backwards = self._encoder.banned_sequences(decode.never_emit), self._ensemble.reversed_target
        banned = [ids[::-1] for ids in banned] if backwards else banned
        lengths = [len(part.input.ids) + 1 for part in parts]
        kept = decode.beam_size if rerankers else n_best
        for batch in batches(lengths, decode.batch_tokens, num_hypotheses(decode, n_best)):
            bindings.threads()  # follows the load also where no kernel asks
            own = [parts[i] for i in batch]
            inputs = [mirrored_input(part.input) if backwards else part.input for part in own]
            rows = search(self._ensemble, inputs, decode, n_best=kept, banned_sequences=banned, device=self._device)
            found = [self._outputs(hypotheses, n_best, decode) for hypotheses in rows]
            if rerankers:
                own_languages = [languages[i] for i in batch]
                ranked = rerank_outputs([part.text for part in own], found, own_languages, rerankers, decode)
                found = [part_outputs[:n_best] for part_outputs in ranked]
            if annotations:
                pairs = list(zip(own, found, strict=True))
                found = annotate(self._force_decode, self._encoder.tokenizer, pairs, annotations, decode.batch_tokens)
            for i, part_outputs in zip(batch, found, strict=True):
                outputs[i] = part_outputs
        return outputs

    def _outputs(self, hypotheses: Sequence[Hypothesis], n_best: int, decode: DecodeConfig) -> list[Translation]:
        if not hypotheses:
            raise NotFiniteError("every output has probability 0: the model's weights are damaged")
        if self._ensemble.reversed_target:
            hypotheses = [mirrored_hypothesis(found) for found in hypotheses]
        outputs = detokenise(hypotheses, self._encoder.tokenizer)
        if decode.search is not SearchName.mbr:
            return outputs
        tokenize = self._bleu_tokenizer if decode.mbr_utility is UtilityName.bleu else DEFAULT
        return select_by_utility(outputs, decode.mbr_utility, n_best, tokenize)

    @functools.cached_property
    def _bleu_tokenizer(self) -> str:
        return DEFAULT if self._data is None else bleu_tokenizer(self._data)
