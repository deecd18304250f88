// Recurrent cells: one step of a layer, or all of them, and the way back.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "numbers.h"

namespace {

// Layer normalisation of one row's gates. Of gates with as many units each, one after the other: gains and shifts; the
// normal values, before these, and 1 / deviation of each gate, which the way back needs (null: not kept).
template <class T, class S>
struct Norm {
    const S *gain, *shift;
    T *normal;
    S *scale;
};

// Gates from number `first` up to `last`, in place.
template <class T, class S>
inline void normalise(i64 size, i64 first, i64 last, Norm<T, S> norm, S *gates) {
    for (i64 gate = first; gate < last; ++gate) {
        const S *gain = norm.gain + gate * size, *shift = norm.shift + gate * size;
        S *values = gates + gate * size, mean = S(0.0), variance = S(0.0);
        T *normal = moved(norm.normal, gate * size);
#pragma omp simd reduction(+ : mean)
        for (i64 k = 0; k < size; ++k) mean += values[k];
        mean /= size;
#pragma omp simd reduction(+ : variance)
        for (i64 k = 0; k < size; ++k) variance += (values[k] - mean) * (values[k] - mean);
        S scale = 1 / std::sqrt(variance / size + S(1e-5));
        if (norm.scale) norm.scale[gate] = scale;
#pragma omp simd
        for (i64 k = 0; k < size; ++k) {
            values[k] = (values[k] - mean) * scale;
            if (normal) store(normal[k], values[k]);
            values[k] = gain[k] * values[k] + shift[k];
        }
    }
}

// The way back, in place: from the gradients of what `normalise` made to those of what it was given. Those of gains and
// shifts are added to.
template <class T, class S>
inline void normalise_backward(i64 size, i64 first, i64 last, Norm<const T, const S> norm, S *gradients, S *gain_gradient,
                               S *shift_gradient) {
    for (i64 gate = first; gate < last; ++gate) {
        const S *gain = norm.gain + gate * size;
        const T *normal = norm.normal + gate * size;
        S *gradient = gradients + gate * size, *dgain = gain_gradient + gate * size, *dshift = shift_gradient + gate * size;
        S mean = S(0.0), along = S(0.0), scale = norm.scale[gate];
#pragma omp simd reduction(+ : mean, along)
        for (i64 k = 0; k < size; ++k) {
            S value = load(normal[k]);
            dgain[k] += gradient[k] * value;
            dshift[k] += gradient[k];
            gradient[k] *= gain[k];
            mean += gradient[k];
            along += gradient[k] * value;
        }
#pragma omp simd
        for (i64 k = 0; k < size; ++k) gradient[k] = scale * (gradient[k] - (mean + load(normal[k]) * along) / size);
    }
}

// One row of one step, by kind of cell. `x` is the inputs' share of the gates, `p` that of the hidden state (null: 0),
// `before` the memory cell (GRU: the hidden state, unrounded), `extra` what else the cell has (null: nothing).

// Gates in torch's order i, f, g, o. `extra`: peephole weights in the same order.
template <class T, class S, bool PEEPHOLE, class X>
inline void lstm_row(i64 size, const T *p, const X *x, const S *before, const S *extra, T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S see = PEEPHOLE ? before[k] : S(0.0);
        S i = sigmoid((p ? load(p[k]) : 0) + load(x[k]) + (PEEPHOLE ? extra[k] * see : 0));
        S f = sigmoid((p ? load(p[size + k]) : 0) + load(x[size + k]) + (PEEPHOLE ? extra[size + k] * see : 0));
        S g = hyperbolic_tangent((p ? load(p[2 * size + k]) : 0) + load(x[2 * size + k]) +
                                 (PEEPHOLE ? extra[2 * size + k] * see : 0));
        S new_cell = f * before[k] + i * g;
        S o = sigmoid((p ? load(p[3 * size + k]) : 0) + load(x[3 * size + k]) +
                      (PEEPHOLE ? extra[3 * size + k] * new_cell : 0));
        c[k] = new_cell;
        store(a[k], i);
        store(a[size + k], f);
        store(a[2 * size + k], g);
        store(a[3 * size + k], o);
        S said = o * hyperbolic_tangent(new_cell);
        store(h[k], said);
        store(out[k], said);
    }
}

// Gates in torch's order r, z, n. `extra`: the hidden state's bias in n. Kept are r, z, n and that state's share of n.
template <class T, class S>
inline void gru_row(i64 size, const T *p, const T *x, const S *before, const S *extra, T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = sigmoid((p ? load(p[k]) : 0) + load(x[k]));
        S z = sigmoid((p ? load(p[size + k]) : 0) + load(x[size + k]));
        S share = (p ? load(p[2 * size + k]) : 0) + (extra ? extra[k] : 0);
        S n = hyperbolic_tangent(load(x[2 * size + k]) + r * share);
        S said = n + z * (before[k] - n);
        c[k] = said;
        store(a[k], r);
        store(a[size + k], z);
        store(a[2 * size + k], n);
        store(a[3 * size + k], share);
        store(h[k], said);
        store(out[k], said);
    }
}

// The same with normalised gates; the candidate is normalised after the reset gate has done its work.
template <class T, class S>
inline void gru_row_normal(i64 size, const T *p, const T *x, const S *before, const S *extra, Norm<T, S> norm, S *gates,
                           T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < 2 * size; ++k) gates[k] = (p ? load(p[k]) : 0) + load(x[k]);
    normalise(size, 0, 2, norm, gates);
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = sigmoid(gates[k]), share = (p ? load(p[2 * size + k]) : 0) + (extra ? extra[k] : 0);
        gates[2 * size + k] = load(x[2 * size + k]) + r * share;
        store(a[k], r);
        store(a[3 * size + k], share);
    }
    normalise(size, 2, 3, norm, gates);
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S z = sigmoid(gates[size + k]), n = hyperbolic_tangent(gates[2 * size + k]);
        S said = n + z * (before[k] - n);
        c[k] = said;
        store(a[size + k], z);
        store(a[2 * size + k], n);
        store(h[k], said);
        store(out[k], said);
    }
}

template <class T, class X, class S = sum_of<T>>
inline void rnn_row(i64 size, const T *p, const X *x, T *a, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S said = hyperbolic_tangent((p ? load(p[k]) : 0) + load(x[k]));
        store(a[k], said);
        store(h[k], said);
        store(out[k], said);
    }
}

enum Kind { LSTM, GRU, RNN };
constexpr i64 GATES[] = {4, 3, 1};  // blocks of what the products give
constexpr i64 KEPT[] = {4, 4, 1};   // blocks of what the way back needs

// One step of a layer; rows past their sentence's length get zeros. `output` (may be null) is a second place for the
// hidden state. The activations may take the place of the inputs where there are as many. `norm` (null: none): gains of
// all gates, then shifts.
template <class T, class S = sum_of<T>>
void cell_forward(int kind, int threads, i64 rows, i64 size, const T *product, const T *inputs, i64 inputs_stride,
                  const S *cell_before, const S *extra, const S *norm, const i64 *lengths, i64 t, T *activations,
                  S *cell, T *hidden, i64 hidden_stride, T *output, i64 output_stride, T *normal, S *scales) {
    const i64 units = GATES[kind] * size;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 b = 0; b < rows; ++b) {
        T *a = activations + KEPT[kind] * size * b, *h = hidden + hidden_stride * b;
        T *out = output ? output + output_stride * b : h;
        S *c = cell + (kind == RNN ? 0 : size * b);
        if (lengths && t >= lengths[b]) {
            std::memset(a, 0, KEPT[kind] * size * sizeof(T));
            std::memset(h, 0, size * sizeof(T));
            std::memset(out, 0, size * sizeof(T));
            if (kind != RNN) std::memset(c, 0, size * sizeof(S));
            continue;
        }
        const T *p = moved(product, units * b), *x = inputs + inputs_stride * b, *none = nullptr;
        const S *before = cell_before + (kind == RNN ? 0 : size * b);
        auto row = [&](const T *p, const auto *x) {
            if (kind == LSTM && extra) lstm_row<T, S, true>(size, p, x, before, extra, a, c, h, out);
            if (kind == LSTM && !extra) lstm_row<T, S, false>(size, p, x, before, extra, a, c, h, out);
            if (kind == RNN) rnn_row(size, p, x, a, h, out);
        };
        if (norm) {
            std::vector<S> gates(units);
            Norm<T, S> own{norm, norm + units, moved(normal, units * b), moved(scales, GATES[kind] * b)};
            if (kind == GRU) {
                gru_row_normal(size, p, x, before, extra, own, gates.data(), a, c, h, out);
            } else {
                for (i64 k = 0; k < units; ++k) gates[k] = (p ? load(p[k]) : 0) + load(x[k]);
                normalise(size, 0, GATES[kind], own, gates.data());
                row(none, gates.data());
            }
        } else if (kind == GRU) {
            gru_row<T, S>(size, p, x, before, extra, a, c, h, out);
        } else {
            row(p, x);
        }
    }
}

// All steps of one direction of a layer, for a few rows: the products are done here, too, as calling for each of them
// takes longer than doing it. Hidden and cell states have one place more than there are steps; the first one (in
// reverse the last) is given.
template <class T, class S = sum_of<T>>
void cell_sequence(int kind, i64 steps, i64 rows, i64 size, const T *weight, const S *extra, const S *norm,
                   const i64 *lengths, bool reverse, const T *gates, T *activations, S *cells, T *hiddens, T *normals,
                   S *scales) {
    const i64 units = GATES[kind] * size, memory = kind == RNN ? 0 : size;
    std::vector<T> product(rows * units);
    std::vector<S> before(size);
    for (i64 step = 0; step < steps; ++step) {
        i64 t = reverse ? steps - 1 - step : step, from = t + reverse, to = t + !reverse;
        for (i64 b = 0; b < rows; ++b) {
            for (i64 k = 0; k < size; ++k) before[k] = load(hiddens[(from * rows + b) * size + k]);
            for (i64 g = 0; g < units; ++g) {
                const T *w = weight + g * size;
                S sum = S(0.0);
#pragma omp simd reduction(+ : sum)
                for (i64 k = 0; k < size; ++k) sum += load(w[k]) * before[k];
                store(product[b * units + g], sum);
            }
        }
        cell_forward<T>(kind, 1, rows, size, product.data(), gates + t * rows * units, units,
                        cells + from * rows * memory, extra, norm, lengths, t,
                        activations + t * rows * KEPT[kind] * size, cells + to * rows * memory,
                        hiddens + to * rows * size, size, nullptr, 0, moved(normals, t * rows * units),
                        moved(scales, t * rows * GATES[kind]));
    }
}

// The way back of one row: `dh` is the gradient of its output and of its hidden state as the next step saw it (null:
// there is none), `dc` that of `cell`, which becomes that of `before`, `dg` becomes that of the inputs' gates.
template <class T, class S, bool PEEPHOLE, class G>
inline void lstm_row_backward(i64 size, const T *a, const S *before, const S *c, const S *extra, const T *dout,
                              const T *dh, S *dc, G *dg) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S i = load(a[k]), f = load(a[size + k]), g = load(a[2 * size + k]), o = load(a[3 * size + k]);
        S squashed = hyperbolic_tangent(c[k]);
        S dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0));
        S doutput = dhidden * squashed * o * (1 - o);
        S dcell = dc[k] + dhidden * o * (1 - squashed * squashed) + (PEEPHOLE ? doutput * extra[3 * size + k] : 0);
        S dinput = dcell * g * i * (1 - i), dforget = dcell * before[k] * f * (1 - f), dnew = dcell * i * (1 - g * g);
        store(dg[k], dinput);
        store(dg[size + k], dforget);
        store(dg[2 * size + k], dnew);
        store(dg[3 * size + k], doutput);
        dc[k] = dcell * f + (PEEPHOLE ? dinput * extra[k] + dforget * extra[size + k] + dnew * extra[2 * size + k] : 0);
    }
}

// `dp` becomes the gradient of the hidden state's gates, whose candidate the reset gate multiplies.
template <class T, class S>
inline void gru_row_backward(i64 size, const T *a, const S *before, const T *dout, const T *dh, S *dc, T *dg, T *dp) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = load(a[k]), z = load(a[size + k]), n = load(a[2 * size + k]), share = load(a[3 * size + k]);
        S dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0)) + dc[k];
        S dnew = dhidden * (1 - z) * (1 - n * n), dreset = dnew * share * r * (1 - r);
        S dupdate = dhidden * (before[k] - n) * z * (1 - z);
        store(dg[k], dreset);
        store(dg[size + k], dupdate);
        store(dg[2 * size + k], dnew);
        store(dp[k], dreset);
        store(dp[size + k], dupdate);
        store(dp[2 * size + k], dnew * r);
        dc[k] = dhidden * z;
    }
}

template <class T, class S>
inline void gru_row_normal_backward(i64 size, const T *a, const S *before, Norm<const T, const S> norm, const T *dout,
                                    const T *dh, S *dc, S *gates, S *dgain, S *dshift, T *dg, T *dp) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S z = load(a[size + k]), n = load(a[2 * size + k]);
        S dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0)) + dc[k];
        gates[size + k] = dhidden * (before[k] - n) * z * (1 - z);
        gates[2 * size + k] = dhidden * (1 - z) * (1 - n * n);
        dc[k] = dhidden * z;
    }
    normalise_backward<T, S>(size, 2, 3, norm, gates, dgain, dshift);
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = load(a[k]);
        gates[k] = gates[2 * size + k] * load(a[3 * size + k]) * r * (1 - r);
        store(dg[2 * size + k], gates[2 * size + k]);
        store(dp[2 * size + k], gates[2 * size + k] * r);
    }
    normalise_backward<T, S>(size, 0, 2, norm, gates, dgain, dshift);
#pragma omp simd
    for (i64 k = 0; k < 2 * size; ++k) {
        store(dg[k], gates[k]);
        store(dp[k], gates[k]);
    }
}

template <class T, class G, class S = sum_of<T>>
inline void rnn_row_backward(i64 size, const T *a, const T *dout, const T *dh, G *dg) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S h = load(a[k]), dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0));
        store(dg[k], dhidden * (1 - h * h));
    }
}

// From the gradients of a step's output, and of its hidden and cell state as the next step saw them, those of its gates
// and of the cell before (in place); zeros past a sentence's length. `other_gradient` (may be null, but not of a GRU):
// the gradient of a GRU's product; of another cell that of the gates after their normalisation, which is what peepholes
// are added to. That of gains and shifts adds up for every row by itself.
template <class T, class S = sum_of<T>>
void cell_backward(int kind, int threads, i64 rows, i64 size, const T *activations, const S *cell_before, const S *cell,
                   const S *extra, const S *norm, const T *normal, const S *scales, const i64 *lengths, i64 t,
                   const T *output_gradient, i64 output_stride, const T *hidden_gradient, i64 hidden_stride,
                   S *cell_gradient, T *gates_gradient, T *other_gradient, S *norm_gradient) {
    const i64 units = GATES[kind] * size, memory = kind == RNN ? 0 : size;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 b = 0; b < rows; ++b) {
        const T *a = activations + KEPT[kind] * size * b, *dout = output_gradient + output_stride * b;
        const T *dh = hidden_gradient ? hidden_gradient + hidden_stride * b : nullptr;
        const S *before = cell_before + memory * b, *c = cell + memory * b;
        S *dc = cell_gradient + memory * b;
        T *dg = gates_gradient + units * b, *other = moved(other_gradient, units * b);
        if (lengths && t >= lengths[b]) {
            std::memset(dg, 0, units * sizeof(T));
            if (other) std::memset(other, 0, units * sizeof(T));
            std::memset(dc, 0, memory * sizeof(S));
            continue;
        }
        auto row = [&](auto *dg) {
            if (kind == LSTM && extra) lstm_row_backward<T, S, true>(size, a, before, c, extra, dout, dh, dc, dg);
            if (kind == LSTM && !extra) lstm_row_backward<T, S, false>(size, a, before, c, extra, dout, dh, dc, dg);
            if (kind == RNN) rnn_row_backward(size, a, dout, dh, dg);
        };
        if (norm) {
            std::vector<S> gates(units);
            Norm<const T, const S> own{norm, norm + units, normal + units * b, scales + GATES[kind] * b};
            S *dgain = norm_gradient + 2 * units * b, *dshift = dgain + units;
            if (kind == GRU) {
                gru_row_normal_backward(size, a, before, own, dout, dh, dc, gates.data(), dgain, dshift, dg, other);
                continue;
            }
            row(gates.data());
            if (other)
                for (i64 k = 0; k < units; ++k) store(other[k], gates[k]);
            normalise_backward<T, S>(size, 0, GATES[kind], own, gates.data(), dgain, dshift);
            for (i64 k = 0; k < units; ++k) store(dg[k], gates[k]);
        } else if (kind == GRU) {
            gru_row_backward<T, S>(size, a, before, dout, dh, dc, dg, other);
        } else {
            row(dg);
        }
    }
}

}  // namespace
