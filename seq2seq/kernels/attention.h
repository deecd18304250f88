// Attention: scores, weights and contexts of every query, and backward. kernels.h describes the arguments.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#include "interface.h"
#include "numbers.h"

namespace {

// The score of one source position: v . tanh(q + k + coverage w), without the last term if w is null; q . k if v is.
template <class T, class S>
inline S score(i64 size, const S *q, const T *k, const S *v, const S *w, S coverage) {
    S energy = S(0.0);
    if (!v) {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += q[a] * load(k[a]);
    } else if (!w) {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += v[a] * hyperbolic_tangent(q[a] + load(k[a]));
    } else {
#pragma omp simd reduction(+ : energy)
        for (i64 a = 0; a < size; ++a) energy += v[a] * hyperbolic_tangent(q[a] + load(k[a]) + coverage * w[a]);
    }
    return energy;
}

// Adds to the gradients of q, k, v and w, and returns that of `coverage`. The tanh is computed again.
template <class T, class S>
inline S score_backward(i64 size, const S *q, const T *k, const S *v, const S *w, S coverage, S denergy, S *dq, S *dk,
                        S *dv, S *dw) {
    S dcoverage = S(0.0);
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
#pragma omp simd reduction(+ : dcoverage)
        for (i64 a = 0; a < size; ++a) {
            S squashed = hyperbolic_tangent(q[a] + load(k[a]) + coverage * w[a]);
            S gradient = denergy * v[a] * (1 - squashed * squashed);
            dv[a] += denergy * squashed;
            dk[a] += gradient;
            dq[a] += gradient;
            dw[a] += gradient * coverage;
            dcoverage += gradient * w[a];
        }
    }
    return dcoverage;
}

// weights = softmax_s(score of k_s), context = sum_s weights_s states_s for every query of a row; the weights of positions
// past its length are 0. Each head has its share of the units of q, k, v, w and of the states.
template <class Args>
void attend_forward(const Args *args) {
    using T = pointed<decltype(args->query)>;
    using S = pointed<decltype(args->weights)>;
    const i64 rows = args->rows, queries = args->queries, heads = args->heads, positions = args->positions;
    const i64 size = args->size, context_size = args->context_size, t = args->t, *lengths = args->lengths;
    const i64 share = size / heads, context_share = context_size / heads;
    const T *query = args->query + t * rows * queries * size;
    const T *keys = args->keys, *states = args->states;
    const S *v = args->energy, *w = args->coverage_weight;
    const S *coverage = moved(args->coverage, t * rows * queries * heads * positions);
    S *weights = args->weights + t * rows * queries * heads * positions;
    T *context = args->context + t * rows * queries * args->context_stride;
#pragma omp parallel num_threads(args->threads)
    {
        std::vector<S> sum(context_share), q(share);
#pragma omp for schedule(static)
        for (i64 part = 0; part < rows * queries * heads; ++part) {
            i64 row = part / heads, head = part % heads, b = row / queries;
            const T *all_keys = keys + b * positions * size + head * share;
            const T *all_states = states + b * args->states_stride + head * context_share;
            const S *own_v = moved(v, head * share), *own_w = moved(w, head * share);
            const S *covered = moved(coverage, part * positions);
            S *alpha = weights + part * positions;
            for (i64 a = 0; a < share; ++a) q[a] = load(query[row * size + head * share + a]);
            S highest = -S(INFINITY), total = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                alpha[s] = score(share, q.data(), all_keys + s * size, own_v, own_w, own_w ? covered[s] : S(0.0));
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
            T *to = context + row * args->context_stride + head * context_share;
            for (i64 e = 0; e < context_share; ++e) store(to[e], sum[e]);
        }
    }
}

// The gradients of keys, v and w add up over the steps (those of v and w for each row on its own); that of the states is
// one product after the last step, in Python.
template <class Args>
void attend_backward(const Args *args) {
    using T = pointed<decltype(args->query)>;
    using S = pointed<decltype(args->keys_gradient)>;
    const i64 rows = args->rows, heads = args->heads, positions = args->positions, size = args->size;
    const i64 context_size = args->context_size, t = args->t, *lengths = args->lengths;
    const i64 share = size / heads, context_share = context_size / heads;
    const T *query = args->query + t * rows * size, *keys = args->keys, *states = args->states;
    const S *v = args->energy, *w = args->coverage_weight;
    const S *coverage = moved(args->coverage, t * rows * heads * positions);
    const S *weights = args->weights + t * rows * heads * positions;
    const S *weights_gradient = moved(args->weights_gradient, t * rows * heads * positions);
    const T *context_gradient = args->context_gradient + t * rows * context_size;
    T *query_gradient = args->query_gradient + t * rows * size;
#pragma omp parallel num_threads(args->threads)
    {
        std::vector<S> dalpha(positions), q(share), dq(share);
#pragma omp for schedule(static)
        for (i64 part = 0; part < rows * heads; ++part) {
            i64 b = part / heads, head = part % heads, own = b * size + head * share;
            const T *all_keys = keys + b * positions * size + head * share;
            const T *all_states = states + b * args->states_stride + head * context_share;
            const S *alpha = weights + part * positions, *covered = moved(coverage, part * positions);
            const S *own_v = moved(v, head * share), *own_w = moved(w, head * share);
            const T *dcontext = context_gradient + b * context_size + head * context_share;
            S *all_dkeys = args->keys_gradient + b * positions * size + head * share;
            S *dv = moved(args->energy_gradient, own), *dw = moved(args->coverage_weight_gradient, own);
            S *dcovered = moved(args->coverage_gradient, part * positions);
            S mean = S(0.0);
            for (i64 s = 0; s < lengths[b]; ++s) {
                const T *state = all_states + s * context_size;
                S gradient = S(0.0);
#pragma omp simd reduction(+ : gradient)
                for (i64 e = 0; e < context_share; ++e) gradient += load(dcontext[e]) * load(state[e]);
                gradient += weights_gradient ? weights_gradient[part * positions + s] : S(0.0);
                dalpha[s] = gradient + (own_w ? dcovered[s] : S(0.0));
                mean += alpha[s] * dalpha[s];
            }
            for (i64 a = 0; a < share; ++a) {
                q[a] = load(query[own + a]);
                dq[a] = S(0.0);
            }
            for (i64 s = 0; s < lengths[b]; ++s) {
                S denergy = alpha[s] * (dalpha[s] - mean);
                S from_score = score_backward(share, q.data(), all_keys + s * size, own_v, own_w,
                                              own_w ? covered[s] : S(0.0), denergy, dq.data(), all_dkeys + s * size, dv, dw);
                if (own_w) dcovered[s] += from_score;
            }
            for (i64 a = 0; a < share; ++a) store(query_gradient[own + a], dq[a]);
        }
    }
}

}  // namespace
