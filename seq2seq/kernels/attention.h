// Attention: scores, weights and contexts of every query, and the way back.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "numbers.h"

namespace {

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

}  // namespace
