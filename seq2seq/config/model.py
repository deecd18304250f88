"""The schema of the network: sizes, parts, first weights and dropout, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass

from seq2seq.config.field import Choice, setting
from seq2seq.errors import ConfigError

MOST_UNITS, MOST_LAYERS = 65_536, 100  # more is a slip of the keyboard, and would be built before memory is looked at


class CellName(Choice):
    """The recurrent cell of every layer; model/cells.py has the equations."""

    lstm = "lstm"
    peephole_lstm = "peephole_lstm"
    gru = "gru"
    rnn = "rnn"


class AttentionName(Choice):
    """How a source position is scored: Bahdanau's sum, Luong's two products, or no attention, for comparison."""

    additive = "additive"
    general = "general"
    dot = "dot"
    none = "none"


class TieName(Choice):
    """Which embedding matrices are one (Press and Wolf 2017): target input+output, or source too."""

    none = "none"
    two_way = "two_way"
    three_way = "three_way"


class MatrixInit(Choice):
    """First values of a matrix: by its shape, as an orthogonal map, or from a fixed range."""

    xavier = "xavier"
    orthogonal = "orthogonal"
    uniform = "uniform"


@dataclass
class DropoutConfig:
    """Probability of zeroing a unit in training, by place (Srivastava et al. 2014; Zaremba et al. 2014)."""

    embedding: float = setting(0.1, "on word vectors entering encoder and decoder", at_least=0, at_most=0.95)
    layers: float = setting(0.1, "on the output of every recurrent layer but the last", at_least=0, at_most=0.95)
    context: float = setting(0.1, "on the encoder states that attention reads", at_least=0, at_most=0.95)
    readout: float = setting(0.1, "on the readout before the vocabulary projection", at_least=0, at_most=0.95)
    recurrent: float = setting(
        0.0, "weight-drop: on the recurrent matrices, once a micro-batch (Merity et al. 2018)", at_least=0, at_most=0.95
    )
    src_words: float = setting(
        0.0, "on whole source pieces (Sennrich et al. 2016, Edinburgh's WMT16 systems)", at_least=0, at_most=0.95
    )
    tgt_words: float = setting(0.0, "on whole pieces that the decoder reads", at_least=0, at_most=0.95)
    variational: bool = setting(
        False, "one mask for all positions of a sentence, in the first four places (Gal and Ghahramani 2016)"
    )


@dataclass
class InitialisationConfig:
    """First values of the weights; word vectors are N(0, 1/emb_size)."""

    recurrent: MatrixInit = setting(
        MatrixInit.orthogonal, "recurrent matrices, gate by gate: orthogonal (Saxe et al. 2014), xavier or uniform"
    )
    matrices: MatrixInit = setting(
        MatrixInit.xavier, "all others, gate by gate: xavier (Glorot and Bengio 2010), orthogonal or uniform"
    )
    uniform_range: float = setting(
        0.08, "uniform: from minus to plus this (Sutskever et al. 2014)", at_least=0, at_most=10
    )
    forget_bias: float = setting(
        1.0,
        "bias of the LSTMs' forget gates (Gers et al. 2000; Jozefowicz et al. 2015)",
        at_least=-100,
        at_most=100,
    )


@dataclass
class ModelConfig:
    """Sizes and parts of the network."""

    emb_size: int = setting(256, "word-vector size, also the readout's", unit="units", at_least=1, at_most=MOST_UNITS)
    hidden_size: int = setting(512, "decoder state size", unit="units", at_least=1, at_most=MOST_UNITS)
    encoder_hidden_size: int | None = setting(
        None,
        "encoder state size per direction; null: half of hidden_size",
        unit="units",
        at_least=1,
        at_most=MOST_UNITS,
    )
    attention_size: int = setting(
        256, "hidden layer of the additive score, all heads", unit="units", at_least=1, at_most=MOST_UNITS
    )
    encoder_layers: int = setting(
        1, "bidirectional recurrent layers of the encoder", unit="layers", at_least=1, at_most=MOST_LAYERS
    )
    decoder_layers: int = setting(1, "recurrent layers of the decoder", unit="layers", at_least=1, at_most=MOST_LAYERS)
    attention: AttentionName = setting(
        AttentionName.additive,
        "score: additive (Bahdanau et al. 2015), general, dot (Luong et al. 2015); none: one vector (Cho et al. 2014)",
    )
    tie_embeddings: TieName = setting(
        TieName.three_way, "share word vectors: none, two_way (target in+out) or three_way (source too)"
    )
    dropout: DropoutConfig = setting(DropoutConfig, "dropout by place")
    cell: CellName = setting(CellName.lstm, "recurrent cell: lstm, peephole_lstm (Gers et al. 2002), gru or rnn (tanh)")
    peephole_candidate: bool = setting(False, "peephole_lstm: let the candidate see the memory cell, too")
    layer_norm: bool = setting(
        False, "normalise every gate of every cell (Ba et al. 2016; RNMT+, Chen et al. 2018); step by step on a GPU"
    )
    residual: bool = setting(
        False, "add to a layer's output the states below it, from the second layer on (Wu et al. 2016)"
    )
    attention_heads: int = setting(
        1, "additive scores side by side, each weighing its share of the encoder state", unit="heads", at_least=1
    )
    coverage: bool = setting(
        False, "additive: the score sees the attention a position has had (Tu et al. 2016; See et al. 2017, eq. 11)"
    )
    input_feeding: bool = setting(
        False, "the bottom decoder layer reads the previous readout, too (Luong et al. 2015, 3.3); runs step by step"
    )
    initialisation: InitialisationConfig = setting(InitialisationConfig, "first values of the weights")

    @property
    def encoder_size(self) -> int:
        """Units per encoder direction."""
        return self.encoder_hidden_size or max(1, self.hidden_size // 2)

    @property
    def drops_by_row(self) -> bool:
        """Whether any dropout gives each row of a batch a mask of its own: the recurrent matrices are one for all."""
        dropout = self.dropout
        between = dropout.layers if max(self.encoder_layers, self.decoder_layers) > 1 else 0.0
        read = dropout.context if self.attention is not AttentionName.none else 0.0
        return any((dropout.embedding, dropout.readout, dropout.src_words, dropout.tgt_words, between, read))

    @property
    def context_size(self) -> int:
        """Units of an encoder state, both directions."""
        return 2 * self.encoder_size


def check_model(model: ModelConfig) -> None:
    """Raise ConfigError, naming the key, where parts do not go together."""
    additive = model.attention is AttentionName.additive
    heads, context = model.attention_heads, model.context_size
    if heads > 1 and not additive:
        raise ConfigError(f"model.attention_heads={heads} needs model.attention=additive, not {model.attention}")
    for key, size in (("model.attention_size", model.attention_size), ("twice model.encoder_hidden_size", context)):
        if size % heads:
            raise ConfigError(f"model.attention_heads={heads} does not divide {key}={size}")
    if model.coverage and not additive:
        raise ConfigError(f"model.coverage=true needs model.attention=additive, not {model.attention}")
    if model.attention is AttentionName.dot and model.hidden_size != context:
        raise ConfigError(
            f"model.attention=dot compares model.hidden_size={model.hidden_size} with twice "
            f"model.encoder_hidden_size={context}: make them equal, or use general"
        )
    for key, units in (("model.hidden_size", model.hidden_size), ("model.encoder_hidden_size", model.encoder_size)):
        if model.layer_norm and units == 1:
            raise ConfigError(f"model.layer_norm=true makes every state the same where {key} is 1")
    if model.peephole_candidate and model.cell is not CellName.peephole_lstm:
        raise ConfigError(f"model.peephole_candidate=true needs model.cell=peephole_lstm, not {model.cell}")
