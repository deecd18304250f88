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

// gates = product + inputs (product may be null), in torch's order i, f, g, o; rows past their sentence's length get
// zeros. `output` (may be null) is a second place for the hidden state.
template <class T, class S = sum_of<T>>
void lstm_forward(int threads, i64 rows, i64 size, const T *product, const T *inputs, i64 inputs_stride,
                  const S *cell_before, const i64 *lengths, i64 t, T *activations, S *cell, T *hidden,
                  i64 hidden_stride, T *output, i64 output_stride) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 b = 0; b < rows; ++b) {
        T *a = activations + 4 * size * b, *h = hidden + hidden_stride * b, *out = output ? output + output_stride * b : h;
        S *c = cell + size * b;
        if (lengths && t >= lengths[b]) {
            std::memset(a, 0, 4 * size * sizeof(T));
            std::memset(h, 0, size * sizeof(T));
            std::memset(out, 0, size * sizeof(T));
            std::memset(c, 0, size * sizeof(S));
            continue;
        }
        const T *p = product ? product + 4 * size * b : nullptr, *x = inputs + inputs_stride * b;
        const S *before = cell_before + size * b;
#pragma omp simd
        for (i64 k = 0; k < size; ++k) {
            S i = sigmoid((p ? load(p[k]) : 0) + load(x[k]));
            S f = sigmoid((p ? load(p[size + k]) : 0) + load(x[size + k]));
            S g = hyperbolic_tangent((p ? load(p[2 * size + k]) : 0) + load(x[2 * size + k]));
            S o = sigmoid((p ? load(p[3 * size + k]) : 0) + load(x[3 * size + k]));
            S new_cell = f * before[k] + i * g;
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
}

// All steps of one direction of a layer, for a few rows: the products are done here, too, as calling for each of them
// takes longer than doing it. `gates` holds the inputs' share, which the activations replace. Hidden and cell states
// have one place more than there are steps; the first one (in reverse the last) is given.
template <class T, class S = sum_of<T>>
void lstm_sequence(i64 steps, i64 rows, i64 size, const T *weight, const i64 *lengths, bool reverse, T *gates, S *cells,
                   T *hiddens) {
    std::vector<T> product(rows * 4 * size);
    std::vector<S> before(size);
    for (i64 step = 0; step < steps; ++step) {
        i64 t = reverse ? steps - 1 - step : step, from = t + reverse, to = t + !reverse;
        for (i64 b = 0; b < rows; ++b) {
            for (i64 k = 0; k < size; ++k) before[k] = load(hiddens[(from * rows + b) * size + k]);
            for (i64 g = 0; g < 4 * size; ++g) {
                const T *w = weight + g * size;
                S sum = S(0.0);
#pragma omp simd reduction(+ : sum)
                for (i64 k = 0; k < size; ++k) sum += load(w[k]) * before[k];
                store(product[b * 4 * size + g], sum);
            }
        }
        T *now = gates + t * rows * 4 * size;
        lstm_forward<T>(1, rows, size, product.data(), now, 4 * size, cells + from * rows * size, lengths, t, now,
                        cells + to * rows * size, hiddens + to * rows * size, size, nullptr, 0);
    }
}

// From the gradients of a step's output, and of its hidden and cell state as the next step saw them, those of its
// gates and of the cell before (in place). `hidden_gradient` may be null: nothing came from a next step.
template <class T, class S = sum_of<T>>
void lstm_backward(int threads, i64 rows, i64 size, const T *activations, const S *cell_before,
                   const S *cell, const T *output_gradient, i64 output_stride, const T *hidden_gradient,
                   i64 hidden_stride, S *cell_gradient, T *gates_gradient, i64 gates_stride) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (i64 b = 0; b < rows; ++b) {
        const T *a = activations + 4 * size * b, *dout = output_gradient + output_stride * b;
        const T *dh = hidden_gradient ? hidden_gradient + hidden_stride * b : nullptr;
        const S *before = cell_before + size * b, *c = cell + size * b;
        S *dc = cell_gradient + size * b;
        T *dg = gates_gradient + gates_stride * b;
#pragma omp simd
        for (i64 k = 0; k < size; ++k) {
            S i = load(a[k]), f = load(a[size + k]), g = load(a[2 * size + k]), o = load(a[3 * size + k]);
            S squashed = hyperbolic_tangent(c[k]);
            S dhidden = load(dout[k]) + (dh ? load(dh[k]) : S(0.0));
            S dcell = dc[k] + dhidden * o * (1 - squashed * squashed);
            store(dg[k], dcell * g * i * (1 - i));
            store(dg[size + k], dcell * before[k] * f * (1 - f));
            store(dg[2 * size + k], dcell * i * (1 - g * g));
            store(dg[3 * size + k], dhidden * squashed * o * (1 - o));
            dc[k] = dcell * f;
        }
    }
}

// e_s = v . tanh(q + k_s), weights = softmax_s(e), context = sum_s weights_s states_s for every query of a sentence;
// the weights of positions past its length are 0.
template <class T, class S = sum_of<T>>
void attend_forward(int threads, i64 rows, i64 queries, i64 positions, i64 size, i64 context_size, const T *query,
                    const T *keys, const T *states, i64 states_stride, const S *v, const i64 *lengths,
                    S *weights, T *context, i64 context_stride) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<S> sum(context_size), q(size);
#pragma omp for schedule(static)
        for (i64 row = 0; row < rows * queries; ++row) {
            i64 b = row / queries;
            const T *all_keys = keys + b * positions * size, *all_states = states + b * states_stride;
            S *w = weights + row * positions;
            for (i64 a = 0; a < size; ++a) q[a] = load(query[row * size + a]);
            S highest = -S(INFINITY);
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *k = all_keys + s * size;
                S energy = S(0.0);
#pragma omp simd reduction(+ : energy)
                for (i64 a = 0; a < size; ++a) energy += v[a] * hyperbolic_tangent(q[a] + load(k[a]));
                w[s] = energy;
                highest = highest < energy ? energy : highest;
            }
            S total = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                w[s] = exponential(w[s] - highest);
                total += w[s];
            }
            for (i64 s = 0; s < lengths[b]; ++s) w[s] /= total;
            for (i64 s = lengths[b]; s < positions; ++s) w[s] = S(0.0);
            std::memset(sum.data(), 0, context_size * sizeof(S));
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *state = all_states + s * context_size;
                S share = w[s];
#pragma omp simd
                for (i64 e = 0; e < context_size; ++e) sum[e] += share * load(state[e]);
            }
            T *to = context + row * context_stride;
            for (i64 e = 0; e < context_size; ++e) store(to[e], sum[e]);
        }
    }
}

// One query a sentence. The tanh is computed again rather than kept. The gradients of keys and of v add up over the
// steps (v's for every sentence by itself); that of the states is one product after the last step.
template <class T, class S = sum_of<T>>
void attend_backward(int threads, i64 rows, i64 positions, i64 size, i64 context_size, const T *query,
                     const T *keys, const T *states, i64 states_stride, const S *v, const i64 *lengths, const S *weights,
                     const S *weights_gradient, const T *context_gradient, i64 context_stride,
                     T *query_gradient, S *keys_gradient, S *v_gradient) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<S> dw(positions), q(size), dq(size);
#pragma omp for schedule(static)
        for (i64 b = 0; b < rows; ++b) {
            const T *all_keys = keys + b * positions * size, *all_states = states + b * states_stride;
            const S *w = weights + b * positions;
            const T *dcontext = context_gradient + b * context_stride;
            S *all_dkeys = keys_gradient + b * positions * size, *dv = v_gradient + b * size;
            S mean = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *state = all_states + s * context_size;
                S gradient = S(0.0);
#pragma omp simd reduction(+ : gradient)
                for (i64 e = 0; e < context_size; ++e) gradient += load(dcontext[e]) * load(state[e]);
                dw[s] = gradient + (weights_gradient ? weights_gradient[b * positions + s] : S(0.0));
                mean += w[s] * dw[s];
            }
            for (i64 a = 0; a < size; ++a) {
                q[a] = load(query[b * size + a]);
                dq[a] = S(0.0);
            }
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *k = all_keys + s * size;
                S *dk = all_dkeys + s * size;
                S denergy = w[s] * (dw[s] - mean);
#pragma omp simd
                for (i64 a = 0; a < size; ++a) {
                    S squashed = hyperbolic_tangent(q[a] + load(k[a]));
                    S gradient = denergy * v[a] * (1 - squashed * squashed);
                    dv[a] += denergy * squashed;
                    dk[a] += gradient;
                    dq[a] += gradient;
                }
            }
            for (i64 a = 0; a < size; ++a) store(query_gradient[b * size + a], dq[a]);
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
template <class T>
void dropout(int threads, i64 count, const T *input, T *output, float keep, std::uint64_t seed) {
    const std::uint32_t threshold = static_cast<std::uint32_t>(keep * 4294967040.0f);
    const std::uint32_t low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
    const sum_of<T> scale = 1 / static_cast<sum_of<T>>(keep);
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
    extern "C" void lstm_forward_##name(int n, i64 r, i64 s, const T *p, const T *x, i64 xs, const S *cb,            \
                                        const i64 *l, i64 t, T *a, S *c, T *h, i64 hs, T *o, i64 os) {                \
        lstm_forward<T>(n, r, s, p, x, xs, cb, l, t, a, c, h, hs, o, os);                                             \
    }                                                                                                                 \
    extern "C" void lstm_sequence_##name(i64 t, i64 r, i64 s, const T *w, const i64 *l, int v, T *g, S *c, T *h) {    \
        lstm_sequence<T>(t, r, s, w, l, v, g, c, h);                                                                  \
    }                                                                                                                 \
    extern "C" void lstm_backward_##name(int n, i64 r, i64 s, const T *a, const S *cb, const S *c, const T *o,       \
                                         i64 os, const T *h, i64 hs, S *dc, T *dg, i64 gs) {                          \
        lstm_backward<T>(n, r, s, a, cb, c, o, os, h, hs, dc, dg, gs);                                                \
    }                                                                                                                 \
    extern "C" void attend_forward_##name(int n, i64 r, i64 m, i64 p, i64 s, i64 e, const T *q, const T *k,          \
                                          const T *st, i64 ss, const S *v, const i64 *l, S *w, T *c, i64 cs) {        \
        attend_forward<T>(n, r, m, p, s, e, q, k, st, ss, v, l, w, c, cs);                                            \
    }                                                                                                                 \
    extern "C" void attend_backward_##name(int n, i64 r, i64 p, i64 s, i64 e, const T *q, const T *k, const T *st,   \
                                           i64 ss, const S *v, const i64 *l, const S *w, const S *dw, const T *c, i64 cs,     \
                                           T *dq, S *dk, S *dv) {                                                     \
        attend_backward<T>(n, r, p, s, e, q, k, st, ss, v, l, w, dw, c, cs, dq, dk, dv);                                  \
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
    extern "C" void dropout_##name(int n, i64 c, const T *x, T *y, float k, std::uint64_t s) {                        \
        dropout<T>(n, c, x, y, k, s);                                                                                 \
    }

EXPORT(float, float, fp32)
EXPORT(bf16, float, bf16)
EXPORT(double, double, fp64)
