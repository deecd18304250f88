/* The C interface of the kernels: read by the C++ compiler and, at run time, by cffi (bindings.py).

   It is read once for each type of element, after `element` and `sum` are defined: float and float (fp32), a struct of
   16 bits and float (bf16), double and double (fp64). cffi has no preprocessor, so there is no line with # here.

   Every array is contiguous, unless a field says how many elements lie between two of its rows (`..._stride`). Shapes
   stand behind the fields, the last dimension varying fastest. A pointer may be null only where its comment says so.
   `threads` is the number of OpenMP threads. A layer's arrays hold all steps, time first; `t` is the step of this call.

   `gates` are pre-activations: the sum of a part from the inputs (W x + b) and a part from the hidden state (`product`,
   U h).

   Blocks of `size` units: G gates (LSTM 4, GRU 3, RNN 1), K activations saved for backward (4, 4, 1), and M carried from
   step to step in the type of sums (1: the memory cell, 1: the unrounded hidden state, 0). */

enum cell_kind { LSTM, GRU, RNN };

struct cell_forward_args { /* one step of a recurrent layer */
    enum cell_kind kind;
    int threads;
    int64_t rows, size, t;
    const element *product;     /* [rows, G size] U h, the hidden-state part of the gates; null: 0 */
    const element *inputs;      /* [steps, rows, G size] W x + b, the input part of the gates */
    const sum *carried_before;  /* [steps, rows, M size] */
    const sum *peepholes;       /* [4, size] of the gates i, f, g, o; null: none */
    const sum *candidate_bias;  /* [size] what a GRU's reset gate multiplies beside the product; null: 0 */
    const sum *norm;            /* [2, G, size] gains and shifts of layer normalisation; null: none */
    sum epsilon;                /* added to the variances; read with `norm` */
    const int64_t *lengths;     /* [rows] steps at or past a row's length write zeros; null: all steps are real */
    element *activations;       /* [steps, rows, K size] written; may be `inputs` if K = G */
    sum *carried_after;         /* [steps, rows, M size] written */
    element *hidden;            /* [steps, rows, size] written */
    element *output;            /* [steps, rows] rows of `size`: a second place for `hidden`; null: none */
    int64_t output_stride;
    element *normal;            /* [steps, rows, G size] written: normalised gates before gain and shift; null: dropped */
    sum *scales;                /* [steps, rows, G] written: 1 / standard deviation of each gate; null: dropped */
};

struct cell_sequence_args { /* all steps of a recurrent layer, matrix products included */
    int threads;                    /* 1 is used without `packed` */
    struct cell_forward_args layer; /* without threads, t and product */
    int64_t steps;
    int reverse;                    /* from the last step to the first */
    const element *weight;          /* [G size, size] of the hidden state; null with `packed` */
    const sum *packed;              /* the same, packed; null with `weight` */
    const element *hidden_before;   /* [steps, rows, size] overlaps `layer.hidden`, one step apart */
};

struct cell_backward_args { /* backward of one step of a recurrent layer */
    enum cell_kind kind;
    int threads;
    int64_t rows, size, t;
    const element *activations;     /* [steps, rows, K size] as are the next seven: from the forward pass */
    const sum *carried_before, *carried_after;
    const sum *peepholes, *norm;
    const element *normal;
    const sum *scales;
    const int64_t *lengths;
    const element *output_gradient; /* [steps, rows, size] of the layer's output */
    const element *hidden_gradient; /* [rows] rows of `size`: of the hidden state as step t + 1 read it; null: 0 */
    int64_t hidden_stride;
    sum *carried_gradient;          /* [rows, M size] of `carried_after`; becomes that of `carried_before` */
    element *gates_gradient;        /* [steps, rows, G size] written: of `inputs` */
    element *product_gradient;      /* [steps, rows, G size] written, GRU only: of `product` */
    element *normal_gradient;       /* [steps, rows, G size] written unless null or GRU: of the gates after `norm` */
    sum *norm_gradient;             /* [rows, 2, G, size] added to; null without `norm` */
};

struct attend_forward_args { /* attention of every query of every row over the row's source positions */
    int threads;
    int64_t rows, queries, heads, positions, size, context_size, t;
    const element *query;       /* [steps, rows, queries, size] */
    const element *keys;        /* [rows, positions, size] */
    const element *states;      /* [rows] blocks of [positions, context_size] */
    int64_t states_stride;
    const sum *energy;          /* [size] v of the additive score; null: the score is query . key */
    const sum *coverage_weight; /* [size] w of the additive score; null: scores do not read the coverage */
    const sum *coverage;        /* [steps, rows, queries, heads, positions] attention received before; null without w */
    const int64_t *lengths;     /* [rows] real source positions */
    sum *weights;               /* [steps, rows, queries, heads, positions] written */
    element *context;           /* [steps, rows, queries] rows of `context_size`, written */
    int64_t context_stride;
};

struct attend_backward_args { /* backward of attention with one query for each row */
    int threads;
    int64_t rows, heads, positions, size, context_size, t;
    const element *query, *keys, *states; /* as are the next six: from the forward pass */
    int64_t states_stride;
    const sum *energy, *coverage_weight, *coverage;
    const int64_t *lengths;
    const sum *weights;
    const sum *weights_gradient;     /* [steps, rows, heads, positions]; null: 0 */
    const element *context_gradient; /* [steps, rows, context_size] */
    element *query_gradient;         /* [steps, rows, size] written */
    sum *keys_gradient;              /* [rows, positions, size] added to */
    sum *energy_gradient;            /* [rows, size] added to; null without `energy` */
    sum *coverage_weight_gradient;   /* [rows, size] added to; null without w */
    sum *coverage_gradient;          /* [rows, heads, positions] of the coverage after step t; becomes that before it */
};

struct cross_entropy_args { /* label-smoothed cross entropy of each row */
    int threads;
    int64_t rows, classes;
    element *logits;        /* [rows, classes] replaced by the gradient of the summed loss */
    const sum *bias;        /* [classes] added to the logits; null: 0 */
    const int64_t *targets; /* [rows] another number than that of a class gives NaN */
    sum smoothing;
    sum *loss, *nll;        /* [rows] written */
};

struct r_drop_args { /* the loss of two passes over the same targets: their mean cross entropy, and their divergence */
    int threads;
    int64_t rows, classes;
    element *first, *second; /* [rows, classes] logits, replaced by the gradients of the summed loss */
    const sum *bias;         /* as are the next four: see cross_entropy_args; `nll` is the mean of the passes */
    const int64_t *targets;
    sum smoothing;
    sum *loss, *nll;
    sum alpha;               /* weight of the divergence */
};

struct log_sum_exp_args { /* log(sum of e^x) of each row */
    int threads;
    int64_t rows, columns;
    const element *values; /* [rows, columns] */
    sum *output;           /* [rows] written */
};

struct best_continuations_args { /* the best continuations by one token of the hypotheses of each sentence */
    int threads;
    int64_t sentences, beam, vocab, best;
    const element *logits;   /* [sentences, beam, vocab] */
    const sum *normaliser;   /* [sentences, beam] log(sum of e^logit) */
    const sum *live;         /* [sentences, beam] log p of each hypothesis; -inf: there is none */
    const uint8_t *only_eos; /* [sentences] 1: the sentence may only end; null: no sentence */
    const uint8_t *never;    /* [sentences] rows of `vocab`: 1: the token is not generated */
    int64_t never_stride;    /* 0: all sentences have the same row */
    int64_t eos;
    sum *totals;             /* [sentences, best] written, as are the next three: log p of the continued hypothesis, */
    int64_t *parents, *tokens; /* its number in the beam, its new token, */
    sum *log_probs;          /* and log p of that token */
};

struct pack_args { /* bring a matrix into the order that `packed_product` reads */
    int threads;
    int64_t inputs, outputs;
    const element *weight; /* [outputs] rows of `inputs` */
    int64_t weight_stride;
    sum *packed;           /* [outputs, rounded up to a multiple of kernel_table.panel, inputs] written */
};

struct packed_product_args { /* x W^T + b: the rounding of a row does not depend on the other rows */
    int threads;
    int64_t rows, inputs, outputs;
    const element *x;  /* [rows, inputs] */
    const sum *packed; /* W, written by `pack` */
    const sum *bias;   /* [outputs]; null: 0 */
    element *output;   /* [rows, outputs] written */
};

struct int8_product_args { /* x W^T + b with exact sums of products of 8-bit numbers; each row of x is rounded to them */
    int threads;
    int64_t rows, inputs, outputs;
    int64_t parts;                 /* up to 4 arrays whose rows, side by side, are those of x; all in the next three */
    const element *x[4];           /* [rows] rows of `widths` elements */
    int64_t widths[4], strides[4]; /* the widths add up to `inputs` */
    const int8_t *packed;  /* [ceil(outputs / P), ceil(inputs / G), P, G] W / scales, rounded, P = kernel_table.int8_panel,
                              G = kernel_table.int8_group; filled up with zeros */
    const sum *scales;     /* [outputs] */
    const sum *bias;       /* [outputs]; null: 0 */
    int tanh;              /* 1: the hyperbolic tangent of the sum */
    element *output;       /* [rows, outputs] written; NaN in a row of x that has NaN or infinity */
};

struct dropout_args { /* each element kept with probability `keep` and divided by it, or 0 */
    int threads;
    int64_t count;
    const element *values; /* [count] */
    element *output;       /* [count] written; may be `values` */
    sum keep;
    uint64_t seed;
};

struct program_args { /* calls of the kernels of this table, one after the other */
    int64_t calls;
    void (*const *kernels)(const void *);
    const void *const *arguments;
};

struct kernel_table { /* the kernels for one type of element */
    uint64_t header;  /* hash of this file when the library was compiled */
    int64_t bytes;    /* of all structs above together, as the compiler lays them out */
    int64_t panel;    /* outputs that `pack` puts side by side */
    int64_t int8;     /* 1: `int8_product` has instructions to be fast */
    int64_t int8_panel;         /* outputs side by side in a matrix of `int8_product` */
    int64_t int8_group;         /* inputs side by side in it: 4 with dot products of 8-bit numbers, else 2 */
    int64_t gates[3], saved[3]; /* G and K of each `cell_kind` */
    void (*cell_forward)(const struct cell_forward_args *);
    void (*cell_sequence)(const struct cell_sequence_args *);
    void (*cell_backward)(const struct cell_backward_args *);
    void (*attend_forward)(const struct attend_forward_args *);
    void (*attend_backward)(const struct attend_backward_args *);
    void (*cross_entropy)(const struct cross_entropy_args *);
    void (*r_drop)(const struct r_drop_args *);
    void (*log_sum_exp)(const struct log_sum_exp_args *);
    void (*best_continuations)(const struct best_continuations_args *);
    void (*pack)(const struct pack_args *);
    void (*packed_product)(const struct packed_product_args *);
    void (*int8_product)(const struct int8_product_args *);
    void (*dropout)(const struct dropout_args *);
    void (*program)(const struct program_args *);
};
