"""What a search shares with the model and with logits processors: protocols, predictions, hypotheses. Ids only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seq2seq.data.special_ids import BOS_ID, PAD_ID, UNK_ID

NEVER_EMITTED = (PAD_ID, UNK_ID, BOS_ID)

_S = TypeVar("_S")  # typing.Self needs Python 3.11


@runtime_checkable
class SearchState(Protocol):
    """The state of a step function: any tensors indexed by sentence and beam."""

    def reorder(self: _S, parents: Int[Tensor, "batch new_beam"]) -> _S:
        """Return the state whose beam k is this state's beam `parents[:, k]` (the beam may widen or narrow)."""
        ...

    def keep(self: _S, sentences: Int[Tensor, " kept"]) -> _S:
        """Return the state of these sentences only, in this order."""
        ...


@dataclass(frozen=True)
class Prediction:
    """Distribution over the next token: log p = logits - normaliser.

    A search for the top k needs only a few log-probabilities, so the full matrix is not computed here.

    Attributes:
        logits: of all tokens, or of `tokens` alone.
        normaliser: log-sum-exp of the logits, in fp32 or better.
        tokens: ids of each sentence's logits, ascending, all special ids among them; rows of fewer are filled up with
            -1, and their logits with -inf. None: the whole vocabulary.
        vocab: size of the whole vocabulary where `tokens` is given.
    """

    logits: Float[Tensor, "batch beam tokens"]
    normaliser: Float[Tensor, "batch beam"]
    tokens: Int[Tensor, "batch tokens"] | None = None
    vocab: int = 0

    @property
    def log_probs(self) -> Float[Tensor, "batch beam vocab"]:
        """Return log p of every next token, in the normaliser's dtype."""
        logits = self.whole().logits
        return logits.to(self.normaliser.dtype) - self.normaliser[:, :, None]

    def whole(self) -> Prediction:
        """Return this prediction over the whole vocabulary, with logits of -inf outside `tokens`."""
        if self.tokens is None:
            return self
        logits = self.logits.new_full((*self.logits.shape[:2], self.vocab), -torch.inf)
        ids = self.tokens.clamp(min=0)[:, None].expand_as(self.logits)
        # The first id stands for tokens of -1 as well, whose logit is -inf: it changes no maximum.
        return Prediction(logits.scatter_reduce(2, ids, self.logits, "amax"), self.normaliser)


State = TypeVar("State", bound=SearchState)
# (last tokens [batch, beam], state) -> (prediction of the next token, new state)
StepFunction = Callable[[Tensor, State], tuple[Prediction, State]]


@runtime_checkable
class StepModel(Protocol[State]):
    """A model as the search sees it: a state for a batch of sources, and a step function over that state."""

    def start(
        self,
        sources: Sequence[Sequence[int]],
        device: torch.device,
        coverage: bool = False,
        required: Sequence[Iterable[int]] = (),
    ) -> State:
        """Encode the sources (ids without EOS) and return the state before the first token.

        Args:
            sources: the batch.
            device: where the model is.
            coverage: whether the state sums up the attention on each source position.
            required: target ids that a vocabulary shortlist must include, for each sentence; empty: none.
        """
        ...

    def step(self, last: Int[Tensor, "batch beam"], state: State) -> tuple[Prediction, State]:
        """Return the prediction of the next token and the new state."""
        ...

    def coverage_penalty(self, state: State) -> Float[Tensor, "batch beam"]:
        """Return the coverage penalty of every hypothesis (`length_penalty.coverage_penalty`)."""
        ...


@runtime_checkable
class LogitsProcessor(Protocol):
    """Forbids next tokens or lowers their log p, given the tokens of each hypothesis so far."""

    def apply(self, log_probs: Float[Tensor, "batch beam vocab"], tokens: Int[Tensor, "batch beam length"]) -> None:
        """Change `log_probs` in place (-inf forbids); no value may rise above 0, or above -inf."""
        ...

    def keep(self: _S, sentences: Int[Tensor, " kept"]) -> _S:
        """Return the processor for these sentences only, in this order."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.

    Attributes:
        tokens: ids without EOS.
        token_log_probs: the model's log p of each token and of the final EOS, before any logits processor.
        score: the ranking criterion, log p over the length penalty (plus the coverage penalty).
        ranked_log_prob: that log p, after logits processors.
    """

    tokens: list[int]
    token_log_probs: list[float]
    score: float
    ranked_log_prob: float = field(default=math.nan, compare=False)

    @property
    def log_prob(self) -> float:
        """Return log p(tokens, EOS | source)."""
        return sum(self.token_log_probs)
