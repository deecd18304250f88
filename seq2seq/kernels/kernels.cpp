// The element-wise parts of the recurrent step, each one pass over memory. Matrix products are left to torch.
//
// Every function works on rows that may be strided ("stride": elements from one row to the next; the elements of a row
// are neighbours) and splits its rows among `threads`. T is float, bf16 or double (for tests of gradients); sums and
// cell states are float, of double double.
// Plain loops on purpose: the compiler turns them into the widest vectors of the machine it runs on.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

using i64 = std::int64_t;

struct bf16 {
    std::uint16_t bits;
};

template <class T>
using sum_of = std::conditional_t<std::is_same_v<T, double>, double, float>;

inline float load(float x) { return x; }

inline double load(double x) { return x; }

inline float load(bf16 x) {
    std::uint32_t wide = static_cast<std::uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

inline void store(float &to, float x) { to = x; }

inline void store(double &to, double x) { to = x; }

inline void store(bf16 &to, float x) {  // to nearest, ties to even; NaN stays NaN
    std::uint32_t wide;
    std::memcpy(&wide, &x, 4);
    std::uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    to.bits = static_cast<std::uint16_t>(x == x ? rounded : 0x7fc0);
}

// e^x: 2^n times a polynomial for the rest (Cephes expf); relative error below 4e-6.
inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float n = std::nearbyint(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    std::int32_t exponent = (static_cast<std::int32_t>(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &exponent, 4);
    return p * scale;
}

inline double exponential(double x) { return std::exp(x); }

template <class S>
inline S sigmoid(S x) {
    return 1 / (1 + exponential(-x));
}

template <class S>
inline S hyperbolic_tangent(S x) {
    return 1 - 2 / (1 + exponential(2 * x));
}

template <class P>
inline P *moved(P *pointer, i64 count) {
    return pointer ? pointer + count : nullptr;
}

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

// The score of one source position: v . tanh(q + k + seen w), without the last term where w is null; q . k where v is.
template <class T, class S>
inline S score(i64 size, const S *q, const T *k, const S *v, const S *w, S seen) {
    S energy = S(0.0);
    if (!v) {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += q[a] * load(k[a]);
    } else if (!w) {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += v[a] * hyperbolic_tangent(q[a] + load(k[a]));
    } else {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += v[a] * hyperbolic_tangent(q[a] + load(k[a]) + seen * w[a]);
    }
    return energy;
}

// The way back: adds to the gradients of q, k, v and w, and returns that of `seen`. The tanh is computed again.
template <class T, class S>
inline S score_backward(i64 size, const S *q, const T *k, const S *v, const S *w, S seen, S denergy, S *dq, S *dk,
                        S *dv, S *dw) {
    S dseen = S(0.0);
    if (!v) {
#pragma omp simd
        for (i64 a = 0; a < size; ++a) {
            dk[a] += denergy * q[a];
            dq[a] += denergy * load(k[a]);
        }
    } else if (!w) {
#pragma omp simd
        for (i64 a = 0; a < size; ++a) {
            S squashed = hyperbolic_tangent(q[a] + load(k[a]));
            S gradient = denergy * v[a] * (1 - squashed * squashed);
            dv[a] += denergy * squashed;
            dk[a] += gradient;
            dq[a] += gradient;
        }
    } else {
#pragma omp simd reduction(+ : dseen)
        for (i64 a = 0; a < size; ++a) {
            S squashed = hyperbolic_tangent(q[a] + load(k[a]) + seen * w[a]);
            S gradient = denergy * v[a] * (1 - squashed * squashed);
            dv[a] += denergy * squashed;
            dk[a] += gradient;
            dq[a] += gradient;
            dw[a] += gradient * seen;
            dseen += gradient * w[a];
        }
    }
    return dseen;
}

// weights = softmax_s(score of k_s), context = sum_s weights_s states_s for every query of a sentence; the weights of
// positions past its length are 0. Every head has its share of q, k, v, w and of the states. `received` (may be null,
// like w) is the attention that every position has had before.
template <class T, class S = sum_of<T>>
void attend_forward(int threads, i64 rows, i64 queries, i64 heads, i64 positions, i64 size, i64 context_size,
                    const T *query, const T *keys, const T *states, i64 states_stride, const S *v, const S *w,
                    const S *received, const i64 *lengths, S *weights, T *context, i64 context_stride) {
    const i64 share = size / heads, context_share = context_size / heads;
#pragma omp parallel num_threads(threads)
    {
        std::vector<S> sum(context_share), q(share);
#pragma omp for schedule(static)
        for (i64 part = 0; part < rows * queries * heads; ++part) {
            i64 row = part / heads, head = part % heads, b = row / queries;
            const T *all_keys = keys + b * positions * size + head * share;
            const T *all_states = states + b * states_stride + head * context_share;
            const S *vector = moved(v, head * share), *seen = moved(w, head * share);
            const S *had = moved(received, part * positions);
            S *alpha = weights + part * positions;
            for (i64 a = 0; a < share; ++a) q[a] = load(query[row * size + head * share + a]);
            S highest = -S(INFINITY), total = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                alpha[s] = score(share, q.data(), all_keys + s * size, vector, seen, seen ? had[s] : S(0.0));
                highest = highest < alpha[s] ? alpha[s] : highest;
            }
            for (i64 s = 0; s < lengths[b]; ++s) {
                alpha[s] = exponential(alpha[s] - highest);
                total += alpha[s];
            }
            for (i64 s = 0; s < lengths[b]; ++s) alpha[s] /= total;
            for (i64 s = lengths[b]; s < positions; ++s) alpha[s] = S(0.0);
            std::memset(sum.data(), 0, context_share * sizeof(S));
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *state = all_states + s * context_size;
                S weight = alpha[s];
#pragma omp simd
                for (i64 e = 0; e < context_share; ++e) sum[e] += weight * load(state[e]);
            }
            T *to = context + row * context_stride + head * context_share;
            for (i64 e = 0; e < context_share; ++e) store(to[e], sum[e]);
        }
    }
}

// One query a sentence. The gradients of keys, v and w add up over the steps (the latter two's for every sentence by
// itself); that of the states is one product after the last step. `received_gradient` (null without w) is that of the
// attention received after this step, and becomes that of the attention received before it.
template <class T, class S = sum_of<T>>
void attend_backward(int threads, i64 rows, i64 heads, i64 positions, i64 size, i64 context_size, const T *query,
                     const T *keys, const T *states, i64 states_stride, const S *v, const S *w, const S *received,
                     const i64 *lengths, const S *weights, const S *weights_gradient, const T *context_gradient,
                     i64 context_stride, T *query_gradient, S *keys_gradient, S *v_gradient, S *w_gradient,
                     S *received_gradient) {
    const i64 share = size / heads, context_share = context_size / heads;
#pragma omp parallel num_threads(threads)
    {
        std::vector<S> dalpha(positions), q(share), dq(share);
#pragma omp for schedule(static)
        for (i64 part = 0; part < rows * heads; ++part) {
            i64 b = part / heads, head = part % heads, own = b * size + head * share;
            const T *all_keys = keys + b * positions * size + head * share;
            const T *all_states = states + b * states_stride + head * context_share;
            const S *alpha = weights + part * positions, *had = moved(received, part * positions);
            const S *vector = moved(v, head * share), *seen = moved(w, head * share);
            const T *dcontext = context_gradient + b * context_stride + head * context_share;
            S *all_dkeys = keys_gradient + b * positions * size + head * share;
            S *dv = moved(v_gradient, own), *dw = moved(w_gradient, own);
            S *dhad = moved(received_gradient, part * positions);
            S mean = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *state = all_states + s * context_size;
                S gradient = S(0.0);
#pragma omp simd reduction(+ : gradient)
                for (i64 e = 0; e < context_share; ++e) gradient += load(dcontext[e]) * load(state[e]);
                gradient += weights_gradient ? weights_gradient[part * positions + s] : S(0.0);
                dalpha[s] = gradient + (seen ? dhad[s] : S(0.0));
                mean += alpha[s] * dalpha[s];
            }
            for (i64 a = 0; a < share; ++a) {
                q[a] = load(query[own + a]);
                dq[a] = S(0.0);
            }
            for (i64 s = 0; s < lengths[b]; ++s) {
                S denergy = alpha[s] * (dalpha[s] - mean);
                S dseen = score_backward(share, q.data(), all_keys + s * size, vector, seen, seen ? had[s] : S(0.0),
                                         denergy, dq.data(), all_dkeys + s * size, dv, dw);
                if (seen) dhad[s] += dseen;
            }
            for (i64 a = 0; a < share; ++a) store(query_gradient[own + a], dq[a]);
        }
    }
}

// Label-smoothed cross entropy of each row of logits, which its gradient replaces (unscaled, summed over rows).
template <class T, class S = sum_of<T>>
void cross_entropy(int threads, i64 rows, i64 classes, T *logits, const i64 *targets, S smoothing, S *loss,
                   S *nll) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        T *z = logits + row * classes;
        S highest = -S(INFINITY), sum = S(0.0), total = S(0.0);
#pragma omp simd reduction(max : highest) reduction(+ : sum)
        for (i64 k = 0; k < classes; ++k) {
            S value = load(z[k]);
            highest = highest < value ? value : highest;
            sum += value;
        }
        S right = load(z[targets[row]]);
#pragma omp simd reduction(+ : total)
        for (i64 k = 0; k < classes; ++k) total += exponential(load(z[k]) - highest);
        S normaliser = highest + std::log(total), uniform = smoothing / classes, scale = S(1.0) / total;
        // A NaN among the logits is lost by the maximum but not by the sum.
        nll[row] = normaliser - right + S(0.0) * sum;
        loss[row] = (1 - smoothing) * nll[row] + smoothing * (normaliser - sum / classes);
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) store(z[k], exponential(load(z[k]) - highest) * scale - uniform);
        store(z[targets[row]], std::exp(right - normaliser) - uniform - (1 - smoothing));
    }
}

// log(sum of e^x) of each row; NaN where one is among the values, -inf where all are.
template <class T, class S = sum_of<T>>
void log_sum_exp(int threads, i64 rows, i64 columns, const T *values, S *output) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        const T *x = values + row * columns;
        S highest = -S(INFINITY), total = S(0.0);
        int unordered = 0;
#pragma omp simd reduction(max : highest) reduction(+ : unordered)
        for (i64 k = 0; k < columns; ++k) {
            S value = load(x[k]);
            highest = highest < value ? value : highest;
            unordered += value != value;
        }
        if (unordered || highest == -S(INFINITY)) {
            output[row] = unordered ? S(NAN) : highest;
            continue;
        }
#pragma omp simd reduction(+ : total)
        for (i64 k = 0; k < columns; ++k) total += exponential(load(x[k]) - highest);
        output[row] = highest + std::log(total);
    }
}

// log p of a hypothesis with one more token, rounded as two sums in this order whatever the compiler may regroup.
template <class S>
inline S continued(S logit, S normaliser, S live) {
    volatile S log_prob = logit - normaliser;
    return log_prob + live;
}

// The best continuations of one hypothesis, best first, equal ones by token.
template <class T, class S>
i64 best_tokens(i64 vocab, const T *z, S normaliser, S live, const std::uint8_t *never, i64 best, S *totals, i64 *tokens) {
    constexpr i64 BLOCK = 64;
    i64 found = 0;
    for (i64 start = 0; start < vocab; start += BLOCK) {
        i64 end = start + BLOCK < vocab ? start + BLOCK : vocab;
        S highest = -S(INFINITY), worst = found < best ? -S(INFINITY) : totals[best - 1];
#pragma omp simd reduction(max : highest)
        for (i64 k = start; k < end; ++k) highest = highest < load(z[k]) ? load(z[k]) : highest;
        if (!(continued<S>(highest, normaliser, live) > worst)) continue;
        for (i64 k = start; k < end; ++k) {
            S total = continued<S>(load(z[k]), normaliser, live);
            if (!(total > worst) || never[k]) continue;
            found += found < best;
            i64 place = found - 1;
            for (; place > 0 && totals[place - 1] < total; --place) {
                totals[place] = totals[place - 1];
                tokens[place] = tokens[place - 1];
            }
            totals[place] = total;
            tokens[place] = k;
            worst = found < best ? -S(INFINITY) : totals[best - 1];
        }
    }
    return found;
}

// The best continuations of each of `sentences` by one token, best first, equal ones by hypothesis, then by token. Where
// `only_eos` (may be null) is set a sentence may only end. Places for which there is nothing get -inf, hypothesis 0 and
// token 0; a sentence with a normaliser that is NaN or -inf gets NaN in all places.
template <class T, class S = sum_of<T>>
void best_continuations(int threads, i64 sentences, i64 beam, i64 vocab, i64 best, const T *logits,
                        const S *normalisers, const S *live, const std::uint8_t *only_eos, const std::uint8_t *never,
                        i64 eos, S *totals, i64 *parents, i64 *tokens, S *log_probs) {
    std::vector<S> all_totals(sentences * beam * best);
    std::vector<i64> all_tokens(sentences * beam * best), all_found(sentences * beam);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (i64 row = 0; row < sentences * beam; ++row) {
            const T *z = logits + row * vocab;
            S *row_totals = &all_totals[row * best];
            i64 *row_tokens = &all_tokens[row * best];
            if (only_eos && only_eos[row / beam]) {
                row_totals[0] = continued<S>(load(z[eos]), normalisers[row], live[row]);
                row_tokens[0] = eos;
                all_found[row] = row_totals[0] > -S(INFINITY);
            } else if (live[row] > -S(INFINITY)) {
                all_found[row] = best_tokens(vocab, z, normalisers[row], live[row], never, best, row_totals, row_tokens);
            }
        }
#pragma omp for schedule(static)
        for (i64 sentence = 0; sentence < sentences; ++sentence) {
            std::vector<i64> next(beam);
            const S *sums = normalisers + sentence * beam;
            bool unordered = false;
            for (i64 b = 0; b < beam; ++b) unordered |= sums[b] != sums[b] || sums[b] == -S(INFINITY);
            for (i64 place = sentence * best; place < (sentence + 1) * best; ++place) {
                i64 parent = -1;
                S highest = -S(INFINITY);
                for (i64 b = 0; b < beam; ++b) {
                    i64 row = sentence * beam + b;
                    if (next[b] == all_found[row] || !(all_totals[row * best + next[b]] > highest)) continue;
                    highest = all_totals[row * best + next[b]];
                    parent = b;
                }
                totals[place] = log_probs[place] = unordered ? S(NAN) : -S(INFINITY);
                parents[place] = tokens[place] = 0;
                if (parent < 0 || unordered) continue;
                i64 row = sentence * beam + parent;
                totals[place] = highest;
                parents[place] = parent;
                tokens[place] = all_tokens[row * best + next[parent]++];
                log_probs[place] = load(logits[row * vocab + tokens[place]]) - normalisers[row];
            }
        }
    }
}

// Each row in 8 bits: round(x / scale) + 128 with scale = max |x| / 127, so that 128 is 0.
template <class T, class S = sum_of<T>>
void quantise(int threads, i64 rows, i64 columns, const T *values, std::uint8_t *output, S *scales) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        const T *x = values + row * columns;
        std::uint8_t *to = output + row * columns;
        S largest = 0;
#pragma omp simd reduction(max : largest)
        for (i64 k = 0; k < columns; ++k) largest = std::fabs(load(x[k])) > largest ? std::fabs(load(x[k])) : largest;
        S scale = largest > 0 ? largest / 127 : 1;
        scales[row] = scale;
#pragma omp simd
        for (i64 k = 0; k < columns; ++k)
            to[k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(load(x[k]) / scale)) + 128);
    }
}

// product * (the row's scale) + bias, in the type of the output; bias may be null.
template <class T, class S = sum_of<T>>
void dequantise(int threads, i64 rows, i64 columns, const S *product, const S *scales, const S *bias, T *output) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        const S *x = product + row * columns;
        T *to = output + row * columns;
        S scale = scales[row];
#pragma omp simd
        for (i64 k = 0; k < columns; ++k) store(to[k], x[k] * scale + (bias ? bias[k] : 0));
    }
}

// Keep each element with probability `keep` and divide it by that. Which ones is a hash of (seed, index), so the way
// back makes the same choice again and nothing is stored. The mixer is lowbias32 (C. Wellons, "hash-prospector").
template <class T, class S = sum_of<T>>
void dropout(int threads, i64 count, const T *input, T *output, S keep, std::uint64_t seed) {
    const std::uint32_t threshold = static_cast<std::uint32_t>(static_cast<float>(keep) * 4294967040.0f);
    const std::uint32_t low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
    const S scale = 1 / keep;
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (i64 k = 0; k < count; ++k) {
        std::uint32_t x = static_cast<std::uint32_t>(k) ^ low;
        x ^= x >> 16;
        x *= 0x7feb352dU;
        x ^= (x >> 15) ^ high;
        x *= 0x846ca68bU;
        x ^= x >> 16;
        store(output[k], x < threshold ? load(input[k]) * scale : 0);
    }
}

}  // namespace

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
