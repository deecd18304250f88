// Logits: the loss with its gradient, normalisation, the best continuations of a beam. kernels.h describes the arguments.

#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "interface.h"
#include "numbers.h"

namespace {

// Label-smoothed cross entropy of each row of logits; its gradient (unscaled, summed over rows) replaces them. A target
// that is no class gives NaN.
template <class Args>
void cross_entropy(const Args *args) {
    using T = pointed<decltype(args->logits)>;
    using S = decltype(args->smoothing);
    constexpr bool EXACT = std::is_same_v<T, S>;  // then e^x takes the place of x, and is computed once
    const i64 rows = args->rows, classes = args->classes, *targets = args->targets;
    T *logits = args->logits;
    const S smoothing = args->smoothing;
    S *loss = args->loss, *nll = args->nll;
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        T *z = logits + row * classes;
        S highest = -S(INFINITY), sum = S(0.0), total = S(0.0);
#pragma omp simd reduction(max : highest) reduction(+ : sum)
        for (i64 k = 0; k < classes; ++k) {
            S value = load(z[k]);
            highest = highest < value ? value : highest;
            sum += value;
        }
        const bool known = std::uint64_t(targets[row]) < std::uint64_t(classes);  // a negative one becomes large
        S right = known ? S(load(z[targets[row]])) : S(NAN);
#pragma omp simd reduction(+ : total)
        for (i64 k = 0; k < classes; ++k) {
            S power = exponential(load(z[k]) - highest);
            if (EXACT) store(z[k], power);
            total += power;
        }
        S normaliser = highest + std::log(total), uniform = smoothing / classes;
        S scale = known ? S(1.0) / total : S(NAN);
        // The sum keeps a NaN among the logits, the maximum does not.
        nll[row] = normaliser - right + S(0.0) * sum;
        loss[row] = (1 - smoothing) * nll[row] + smoothing * (normaliser - sum / classes);
#pragma omp simd
        for (i64 k = 0; k < classes; ++k) {
            S power = EXACT ? load(z[k]) : exponential(load(z[k]) - highest);
            store(z[k], power * scale - uniform);
        }
        if (known) store(z[targets[row]], std::exp(right - normaliser) - uniform - (1 - smoothing));
    }
}

// log(sum of e^x) of each row; NaN if a value is NaN, -inf if all values are -inf.
template <class Args>
void log_sum_exp(const Args *args) {
    using T = pointed<decltype(args->values)>;
    using S = pointed<decltype(args->output)>;
    const i64 rows = args->rows, columns = args->columns;
    const T *values = args->values;
    S *output = args->output;
#pragma omp parallel for num_threads(args->threads) schedule(static)
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

// log p of a hypothesis with one more token. `volatile` keeps the compiler from regrouping the two sums.
template <class S>
inline S continued(S logit, S normaliser, S live) {
    volatile S log_prob = logit - normaliser;
    return log_prob + live;
}

// The best continuations of one hypothesis, best first, equal ones by token; returns how many there are.
template <class T, class S>
i64 best_tokens(i64 vocab, const T *z, S normaliser, S live, const std::uint8_t *never, i64 best, S *totals,
                i64 *tokens) {
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

// The best continuations of each sentence by one token, best first, equal ones by hypothesis, then by token. A place
// without a continuation gets -inf, hypothesis 0 and token 0; a sentence with a normaliser that is NaN or -inf gets NaN
// in all places.
template <class Args>
void best_continuations(const Args *args) {
    using T = pointed<decltype(args->logits)>;
    using S = pointed<decltype(args->totals)>;
    const i64 sentences = args->sentences, beam = args->beam, vocab = args->vocab, best = args->best, eos = args->eos;
    const T *logits = args->logits;
    const S *normalisers = args->normaliser, *live = args->live;
    const std::uint8_t *only_eos = args->only_eos, *never = args->never;
    S *totals = args->totals, *log_probs = args->log_probs;
    i64 *parents = args->parents, *tokens = args->tokens;
    std::vector<S> all_totals(sentences * beam * best);
    std::vector<i64> all_tokens(sentences * beam * best), all_found(sentences * beam);
#pragma omp parallel num_threads(args->threads)
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
                const std::uint8_t *own = never + row / beam * args->never_stride;
                all_found[row] = best_tokens(vocab, z, normalisers[row], live[row], own, best, row_totals, row_tokens);
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

}  // namespace
