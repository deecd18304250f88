// Recurrent cells: one step of a layer, or all its steps, and backward. kernels.h describes the arguments.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "interface.h"
#include "numbers.h"
#include "product.h"

namespace {

// Layer normalisation of one row's gates, each of the same number of units: gains and shifts, and what backward needs:
// the normal values before gain and shift, and 1 / standard deviation of each gate (null: not saved). `epsilon` is added
// to a variance, forward only.
template <class T, class S>
struct Norm {
    const S *gain, *shift;
    T *normal;
    S *scale;
    S epsilon;
};

// Normalise the gates from number `first` up to `last`, in place.
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
        S scale = 1 / std::sqrt(variance / size + norm.epsilon);
        if (norm.scale) norm.scale[gate] = scale;
#pragma omp simd
        for (i64 k = 0; k < size; ++k) {
            values[k] = (values[k] - mean) * scale;
            if (normal) store(normal[k], values[k]);
            values[k] = gain[k] * values[k] + shift[k];
        }
    }
}

// Turn the gradients of what `normalise` returned into those of what it was given, in place; add to those of gains and
// shifts.
template <class T, class S>
inline void normalise_backward(i64 size, i64 first, i64 last, Norm<const T, const S> norm, S *gradients,
                               S *gain_gradient, S *shift_gradient) {
    for (i64 gate = first; gate < last; ++gate) {
        const S *gain = norm.gain + gate * size;
        const T *normal = norm.normal + gate * size;
        S *gradient = gradients + gate * size;
        S *dgain = gain_gradient + gate * size, *dshift = shift_gradient + gate * size;
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

// One row of one step, by kind of cell. `x` is the inputs' share of the gates, `p` the hidden state's (null: 0); `before`
// and `c` are what the cell carries (LSTM: the memory cell; GRU: the unrounded hidden state) before and after the step.

// Gates and peephole weights in torch's order i, f, g, o.
template <class T, class S, bool PEEPHOLE, class X>
inline void lstm_row(i64 size, const T *p, const X *x, const S *before, const S *peephole, T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S memory = PEEPHOLE ? before[k] : S(0.0);
        S i = sigmoid((p ? load(p[k]) : 0) + load(x[k]) + (PEEPHOLE ? peephole[k] * memory : 0));
        S f = sigmoid((p ? load(p[size + k]) : 0) + load(x[size + k]) + (PEEPHOLE ? peephole[size + k] * memory : 0));
        S g = hyperbolic_tangent((p ? load(p[2 * size + k]) : 0) + load(x[2 * size + k]) +
                                 (PEEPHOLE ? peephole[2 * size + k] * memory : 0));
        S new_cell = f * before[k] + i * g;
        S o = sigmoid((p ? load(p[3 * size + k]) : 0) + load(x[3 * size + k]) +
                      (PEEPHOLE ? peephole[3 * size + k] * new_cell : 0));
        c[k] = new_cell;
        store(a[k], i);
        store(a[size + k], f);
        store(a[2 * size + k], g);
        store(a[3 * size + k], o);
        S new_hidden = o * hyperbolic_tangent(new_cell);
        store(h[k], new_hidden);
        store(out[k], new_hidden);
    }
}

// Gates in torch's order r, z, n; `bias` is the hidden state's in n. Saved are r, z, n and the hidden state's share of n.
template <class T, class S>
inline void gru_row(i64 size, const T *p, const T *x, const S *before, const S *bias, T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = sigmoid((p ? load(p[k]) : 0) + load(x[k]));
        S z = sigmoid((p ? load(p[size + k]) : 0) + load(x[size + k]));
        S share = (p ? load(p[2 * size + k]) : 0) + (bias ? bias[k] : 0);
        S n = hyperbolic_tangent(load(x[2 * size + k]) + r * share);
        S new_hidden = n + z * (before[k] - n);
        c[k] = new_hidden;
        store(a[k], r);
        store(a[size + k], z);
        store(a[2 * size + k], n);
        store(a[3 * size + k], share);
        store(h[k], new_hidden);
        store(out[k], new_hidden);
    }
}

// The same with normalised gates; the candidate is normalised after the reset gate has multiplied.
template <class T, class S>
inline void gru_row_normal(i64 size, const T *p, const T *x, const S *before, const S *bias, Norm<T, S> norm, S *gates,
                           T *a, S *c, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < 2 * size; ++k) gates[k] = (p ? load(p[k]) : 0) + load(x[k]);
    normalise(size, 0, 2, norm, gates);
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S r = sigmoid(gates[k]), share = (p ? load(p[2 * size + k]) : 0) + (bias ? bias[k] : 0);
        gates[2 * size + k] = load(x[2 * size + k]) + r * share;
        store(a[k], r);
        store(a[3 * size + k], share);
    }
    normalise(size, 2, 3, norm, gates);
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S z = sigmoid(gates[size + k]), n = hyperbolic_tangent(gates[2 * size + k]);
        S new_hidden = n + z * (before[k] - n);
        c[k] = new_hidden;
        store(a[size + k], z);
        store(a[2 * size + k], n);
        store(h[k], new_hidden);
        store(out[k], new_hidden);
    }
}

template <class T, class S, class X>
inline void rnn_row(i64 size, const T *p, const X *x, T *a, T *h, T *out) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S new_hidden = hyperbolic_tangent((p ? load(p[k]) : 0) + load(x[k]));
        store(a[k], new_hidden);
        store(h[k], new_hidden);
        store(out[k], new_hidden);
    }
}

constexpr i64 GATES[] = {4, 3, 1};  // blocks of the products, by kind
constexpr i64 SAVED[] = {4, 4, 1};  // blocks of activations that backward needs

// One step of a layer; rows past their length get zeros.
template <class Args>
void cell_forward(const Args *args) {
    using T = pointed<decltype(args->inputs)>;
    using S = pointed<decltype(args->carried_after)>;
    const int kind = args->kind;
    const i64 size = args->size, step = args->t * args->rows;
    const i64 units = GATES[kind] * size, saved = SAVED[kind] * size, memory = kind == RNN ? 0 : size;
    const T *product = args->product, *inputs = args->inputs + step * units;
    const S *carried_before = args->carried_before + step * memory;
    const S *peephole = args->peepholes, *bias = args->candidate_bias, *norm = args->norm;
    T *activations = args->activations + step * saved, *hidden = args->hidden + step * size;
    T *output = moved(args->output, step * args->output_stride), *normal = moved(args->normal, step * units);
    S *carried_after = args->carried_after + step * memory, *scales = moved(args->scales, step * GATES[kind]);
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 b = 0; b < args->rows; ++b) {
        T *a = activations + saved * b, *h = hidden + size * b;
        T *out = output ? output + args->output_stride * b : h;
        S *c = carried_after + memory * b;
        if (args->lengths && args->t >= args->lengths[b]) {
            std::memset(a, 0, saved * sizeof(T));
            std::memset(h, 0, size * sizeof(T));
            std::memset(out, 0, size * sizeof(T));
            if (memory) std::memset(c, 0, size * sizeof(S));
            continue;
        }
        const T *p = moved(product, units * b), *x = inputs + units * b, *none = nullptr;
        const S *before = carried_before + memory * b;
        auto row = [&](const T *p, const auto *x) {
            if (kind == LSTM && peephole) lstm_row<T, S, true>(size, p, x, before, peephole, a, c, h, out);
            if (kind == LSTM && !peephole) lstm_row<T, S, false>(size, p, x, before, peephole, a, c, h, out);
            if (kind == RNN) rnn_row<T, S>(size, p, x, a, h, out);
        };
        if (norm) {
            std::vector<S> gates(units);
            Norm<T, S> own{norm, norm + units, moved(normal, units * b), moved(scales, GATES[kind] * b), args->epsilon};
            if (kind == GRU) {
                gru_row_normal(size, p, x, before, bias, own, gates.data(), a, c, h, out);
            } else {
                for (i64 k = 0; k < units; ++k) gates[k] = (p ? load(p[k]) : 0) + load(x[k]);
                normalise(size, 0, GATES[kind], own, gates.data());
                row(none, gates.data());
            }
        } else if (kind == GRU) {
            gru_row<T, S>(size, p, x, before, bias, a, c, h, out);
        } else {
            row(p, x);
        }
    }
}

// All steps of one direction of a layer: for a few rows calling torch for each product would take longer than computing it
// here.
template <class Args>
void cell_sequence(const Args *args) {
    using T = pointed<decltype(args->weight)>;
    using S = pointed<decltype(args->layer.carried_after)>;
    auto layer = args->layer;
    const i64 rows = layer.rows, size = layer.size, units = GATES[layer.kind] * size;
    std::vector<T> product(rows * units);
    std::vector<S> before(size);
    layer.threads = args->packed ? args->threads : 1;
    layer.product = product.data();
    for (i64 step = 0; step < args->steps; ++step) {
        layer.t = args->reverse ? args->steps - 1 - step : step;
        const T *all_hidden = args->hidden_before + layer.t * rows * size;
        if (args->packed) {
            const S *no_bias = nullptr;
            multiply(layer.threads, rows, size, units, all_hidden, args->packed, no_bias, product.data());
        }
        for (i64 b = 0; b < rows && !args->packed; ++b) {
            const T *hidden = all_hidden + b * size;
            for (i64 k = 0; k < size; ++k) before[k] = load(hidden[k]);
            for (i64 g = 0; g < units; ++g) {
                const T *w = args->weight + g * size;
                S sum = S(0.0);
#pragma omp simd reduction(+ : sum)
                for (i64 k = 0; k < size; ++k) sum += load(w[k]) * before[k];
                store(product[b * units + g], sum);
            }
        }
        cell_forward(&layer);
    }
}

// Backward of one row: `dout` is the gradient of its output, `dh` that of its hidden state as the next step read it
// (null: 0); `dc` is that of `c` and becomes that of `before`; `dg` becomes that of the inputs' gates.
template <class T, class S, bool PEEPHOLE, class G>
inline void lstm_row_backward(i64 size, const T *a, const S *before, const S *c, const S *peephole, const T *dout,
                              const T *dh, S *dc, G *dg) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S i = load(a[k]), f = load(a[size + k]), g = load(a[2 * size + k]), o = load(a[3 * size + k]);
        S squashed = hyperbolic_tangent(c[k]);
        S dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0));
        S doutput = dhidden * squashed * o * (1 - o);
        S dcell = dc[k] + dhidden * o * (1 - squashed * squashed) + (PEEPHOLE ? doutput * peephole[3 * size + k] : 0);
        S dinput = dcell * g * i * (1 - i), dforget = dcell * before[k] * f * (1 - f), dnew = dcell * i * (1 - g * g);
        store(dg[k], dinput);
        store(dg[size + k], dforget);
        store(dg[2 * size + k], dnew);
        store(dg[3 * size + k], doutput);
        dc[k] = dcell * f +
                (PEEPHOLE ? dinput * peephole[k] + dforget * peephole[size + k] + dnew * peephole[2 * size + k] : 0);
    }
}

// `dp` becomes the gradient of the hidden state's product, whose candidate the reset gate multiplies.
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

template <class T, class S, class G>
inline void rnn_row_backward(i64 size, const T *a, const T *dout, const T *dh, G *dg) {
#pragma omp simd
    for (i64 k = 0; k < size; ++k) {
        S h = load(a[k]), dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0));
        store(dg[k], dhidden * (1 - h * h));
    }
}

// Backward of one step; zeros past a row's length. The gradients of gains and shifts add up for each row on its own.
template <class Args>
void cell_backward(const Args *args) {
    using T = pointed<decltype(args->activations)>;
    using S = pointed<decltype(args->carried_gradient)>;
    const int kind = args->kind;
    const i64 size = args->size, step = args->t * args->rows;
    const i64 units = GATES[kind] * size, saved = SAVED[kind] * size, memory = kind == RNN ? 0 : size;
    const T *activations = args->activations + step * saved, *normal = moved(args->normal, step * units);
    const S *carried_before = args->carried_before + step * memory, *carried_after = args->carried_after + step * memory;
    const S *peephole = args->peepholes, *norm = args->norm, *scales = moved(args->scales, step * GATES[kind]);
    const T *output_gradient = args->output_gradient + step * size;
    T *gates_gradient = args->gates_gradient + step * units;
    T *product_gradient = moved(args->product_gradient, step * units);
    T *normal_gradient = moved(args->normal_gradient, step * units);
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 b = 0; b < args->rows; ++b) {
        const T *a = activations + saved * b, *dout = output_gradient + size * b;
        const T *dh = moved(args->hidden_gradient, args->hidden_stride * b);
        const S *before = carried_before + memory * b, *c = carried_after + memory * b;
        S *dc = args->carried_gradient + memory * b;
        T *dg = gates_gradient + units * b, *dp = moved(product_gradient, units * b);
        T *dn = moved(normal_gradient, units * b);
        if (args->lengths && args->t >= args->lengths[b]) {
            std::memset(dg, 0, units * sizeof(T));
            if (dp) std::memset(dp, 0, units * sizeof(T));
            if (dn) std::memset(dn, 0, units * sizeof(T));
            std::memset(dc, 0, memory * sizeof(S));
            continue;
        }
        auto row = [&](auto *dg) {
            if (kind == LSTM && peephole) lstm_row_backward<T, S, true>(size, a, before, c, peephole, dout, dh, dc, dg);
            if (kind == LSTM && !peephole) lstm_row_backward<T, S, false>(size, a, before, c, peephole, dout, dh, dc, dg);
            if (kind == RNN) rnn_row_backward<T, S>(size, a, dout, dh, dg);
        };
        if (norm) {
            std::vector<S> gates(units);
            Norm<const T, const S> own{norm, norm + units, normal + units * b, scales + GATES[kind] * b, S(0.0)};
            S *dgain = args->norm_gradient + 2 * units * b, *dshift = dgain + units;
            if (kind == GRU) {
                gru_row_normal_backward(size, a, before, own, dout, dh, dc, gates.data(), dgain, dshift, dg, dp);
                continue;
            }
            row(gates.data());
            if (dn)
                for (i64 k = 0; k < units; ++k) store(dn[k], gates[k]);
            normalise_backward<T, S>(size, 0, GATES[kind], own, gates.data(), dgain, dshift);
            for (i64 k = 0; k < units; ++k) store(dg[k], gates[k]);
        } else if (kind == GRU) {
            gru_row_backward<T, S>(size, a, before, dout, dh, dc, dg, dp);
        } else {
            row(dg);
        }
    }
}

}  // namespace
