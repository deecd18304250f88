// The element-wise parts of a network, each one pass over memory, for Python. Matrix products are left to torch.
//
// Every function works on rows that may be strided ("stride": elements from one row to the next; the elements of a row
// are neighbours) and splits its rows among `threads`. T is float, bf16 or double (for tests of gradients); sums and
// cell states are float, of double double.
// Plain loops on purpose: the compiler turns them into the widest vectors of the machine it runs on.

#include "attention.h"
#include "cells.h"
#include "elements.h"
#include "numbers.h"
#include "vocabulary.h"

#define EXPORT(T, S, name)                                                                                            \
    extern "C" void cell_forward_##name(int k, int n, i64 r, i64 s, const T *p, const T *x, i64 xs, const S *cb,      \
                                        const S *e, const S *g, const i64 *l, i64 t, T *a, S *c, T *h, i64 hs, T *o,  \
                                        i64 os, T *no, S *sc) {                                                       \
        cell_forward<T>(k, n, r, s, p, x, xs, cb, e, g, l, t, a, c, h, hs, o, os, no, sc);                            \
    }                                                                                                                 \
    extern "C" void cell_sequence_##name(int k, i64 t, i64 r, i64 s, const T *w, const S *e, const S *n, const i64 *l,\
                                         int v, const T *g, T *a, S *c, T *h, T *no, S *sc) {                         \
        cell_sequence<T>(k, t, r, s, w, e, n, l, v, g, a, c, h, no, sc);                                              \
    }                                                                                                                 \
    extern "C" void cell_backward_##name(int k, int n, i64 r, i64 s, const T *a, const S *cb, const S *c, const S *e, \
                                         const S *g, const T *no, const S *sc, const i64 *l, i64 t, const T *o, i64 os,\
                                         const T *h, i64 hs, S *dc, T *dg, T *ot, S *dn) {                            \
        cell_backward<T>(k, n, r, s, a, cb, c, e, g, no, sc, l, t, o, os, h, hs, dc, dg, ot, dn);                     \
    }                                                                                                                 \
    extern "C" void attend_forward_##name(int n, i64 r, i64 m, i64 h, i64 p, i64 s, i64 e, const T *q, const T *k,    \
                                          const T *st, i64 ss, const S *v, const S *w, const S *re, const i64 *l,     \
                                          S *al, T *c, i64 cs) {                                                      \
        attend_forward<T>(n, r, m, h, p, s, e, q, k, st, ss, v, w, re, l, al, c, cs);                                 \
    }                                                                                                                 \
    extern "C" void attend_backward_##name(int n, i64 r, i64 h, i64 p, i64 s, i64 e, const T *q, const T *k,          \
                                           const T *st, i64 ss, const S *v, const S *w, const S *re, const i64 *l,    \
                                           const S *al, const S *da, const T *c, i64 cs, T *dq, S *dk, S *dv, S *dw,  \
                                           S *dr) {                                                                   \
        attend_backward<T>(n, r, h, p, s, e, q, k, st, ss, v, w, re, l, al, da, c, cs, dq, dk, dv, dw, dr);           \
    }                                                                                                                 \
    extern "C" void cross_entropy_##name(int n, i64 r, i64 c, T *z, const i64 *t, S s, S *loss, S *nll) {            \
        cross_entropy<T>(n, r, c, z, t, s, loss, nll);                                                                \
    }                                                                                                                 \
    extern "C" void log_sum_exp_##name(int n, i64 r, i64 c, const T *x, S *y) { log_sum_exp<T>(n, r, c, x, y); }      \
    extern "C" void best_continuations_##name(int n, i64 r, i64 b, i64 c, i64 k, const T *z, const S *m, const S *l,  \
                                              const std::uint8_t *o, const std::uint8_t *v, i64 e, S *to, i64 *p,     \
                                              i64 *t, S *lp) {                                                        \
        best_continuations<T>(n, r, b, c, k, z, m, l, o, v, e, to, p, t, lp);                                         \
    }                                                                                                                 \
    extern "C" void quantise_##name(int n, i64 r, i64 c, const T *x, std::uint8_t *y, S *s) {                         \
        quantise<T>(n, r, c, x, y, s);                                                                                \
    }                                                                                                                 \
    extern "C" void dequantise_##name(int n, i64 r, i64 c, const S *x, const S *s, const S *b, T *y) {                \
        dequantise<T>(n, r, c, x, s, b, y);                                                                           \
    }                                                                                                                 \
    extern "C" void dropout_##name(int n, i64 c, const T *x, T *y, S k, std::uint64_t s) {                            \
        dropout<T>(n, c, x, y, k, s);                                                                                 \
    }

EXPORT(float, float, fp32)
EXPORT(bf16, float, bf16)
EXPORT(double, double, fp64)
