"""The candidates of minimum-risk training: translations that the network finds now, scored against the references."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sacrebleu import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from seq2seq.config.decode import DecodeConfig, UtilityName
from seq2seq.config.training import CandidatesName, MinimumRiskConfig
from seq2seq.data.batches.batch import Batch
from seq2seq.data.special_ids import PAD_ID
from seq2seq.data.subwords.tokenizer import Tokenizer
from seq2seq.data.text.bleu_tokenizer import DEFAULT
from seq2seq.errors import NotFiniteError
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.text import one_line
from seq2seq.model.network import Seq2Seq
from seq2seq.search.beam import beam_search
from seq2seq.search.length_penalty import length_penalty
from seq2seq.search.protocols import Hypothesis
from seq2seq.search.sampling import sample
from seq2seq.training.minimum_risk import Candidate, max_candidate_tokens, references


class CandidateFinder:
    """Finds the candidates of a batch (the trainer's `CandidateSearch`).

    Scores are computed on detokenised text, as for users: sacreBLEU's sentence-level chrF, or BLEU with effective
    order and exponential smoothing. They take 0.1 to 0.2 ms per candidate.
    """

    def __init__(
        self,
        network: Seq2Seq,
        tokenizer: Tokenizer,
        config: MinimumRiskConfig,
        decode: DecodeConfig,
        tokenize: str = DEFAULT,
    ) -> None:
        """`decode` has the length penalty of a beam search, and `tokenize` is BLEU's tokenizer."""
        self._network, self._tokenizer, self._config, self._decode = network, tokenizer, config, decode
        bleu = config.metric is UtilityName.bleu
        self._metric: Metric = BLEU(effective_order=True, tokenize=tokenize) if bleu else CHRF()

    def __call__(self, batch: Batch) -> list[list[Candidate]]:
        """Return the distinct candidates of each sentence.

        Raises:
            NotFiniteError: the network's outputs are not finite.
        """
        targets = self._texts(references(batch))
        return [self._scored(*row) for row in zip(self._search(batch), targets, strict=True)]

    def _search(self, batch: Batch) -> list[list[Hypothesis]]:
        device, samples = batch.src_ids.device, self._config.samples
        rows = zip(batch.src_ids.tolist(), batch.src_lengths.tolist(), strict=True)
        model = Ensemble([self._network])  # a new one: it would keep prepared weights
        state = model.start([ids[: length - 1] for ids, length in rows], device)
        limits = max_candidate_tokens((batch.tgt_out != PAD_ID).sum(1))
        penalty = length_penalty(self._decode.length_normalization, self._decode.length_penalty)
        if self._config.candidates is CandidatesName.beam:
            return beam_search(model.step, state, limits, beam_size=samples, n_best=samples, penalty=penalty).hypotheses
        seeds: list[int] = torch.randint(2**32, (len(limits),)).tolist()
        return sample(model.step, state, limits, samples=samples, seeds=seeds, penalty=penalty)

    def _scored(self, hypotheses: Sequence[Hypothesis], reference: str) -> list[Candidate]:
        if not hypotheses:
            raise NotFiniteError("every candidate has probability 0: the model's weights are damaged")
        distinct = list(map(list, dict.fromkeys(tuple(hypothesis.tokens) for hypothesis in hypotheses)))
        texts = zip(distinct, self._texts(distinct), strict=True)
        return [Candidate(tokens, self._cost(text, reference)) for tokens, text in texts]

    def _texts(self, rows: list[list[int]]) -> list[str]:
        """Return the texts of ids in the order in which the network writes them."""
        backwards = self._network.config.reversed_target
        return list(map(one_line, self._tokenizer.decode([ids[::-1] for ids in rows] if backwards else rows)))

    def _cost(self, text: str, reference: str) -> float:
        if text == reference:  # also where both are blank, which have no n-grams
            return 0.0
        return 1 - float(self._metric.sentence_score(text, [reference]).score) / 100
