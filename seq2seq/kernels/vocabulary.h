// Logits: the loss with its gradient, normalisation, the best continuations of a beam. kernels.h describes the arguments.

#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "interface.h"
#include "numbers.h"

namespace {

// The label-smoothed loss of one row of logits z, and what its gradient is computed from.
template <class S>
struct RowLoss {
    S normaliser;     // log(sum of e^z)
    S inverse;        // 1 / sum of e^(z - highest); NaN if the target is no class
    S uniform, right; // what smoothing expects of each class; the probability of the target
    S loss, nll;

    // Fills z with the logits and p with their powers; both may be the same array.
    template <class T>
    RowLoss(i64 classes, const T *logits, const S *bias, i64 target, S smoothing, S *z, S *p) {
        S highest = -S(INFINITY), sum = S(0.0), total = S(0.0);
#pragma omp simd reduction(max : highest) reduction(+ : sum)
        for (i64 k = 0; k < classes; ++k) {
            S value = load(logits[k]) + (bias ? bias[k] : 0);
            z[k] = value;
            highest = highest < value ? value : highest;
            sum += value;
        }
        const bool known = std::uint64_t(target) < std::uint64_t(classes);  // a negative one becomes large
        const S chosen = known ? z[target] : S(NAN);
#pragma omp simd reduction(+ : total)
        for (i64 k = 0; k < classes; ++k) {
            p[k] = exponential(z[k] - highest);
            total += p[k];
        }
        normaliser = highest + std::log(total);
        inverse = known ? S(1.0) / total : S(NAN);
        uniform = smoothing / classes;
        right = std::exp(chosen - normaliser);
        // The sum keeps a NaN among the logits, the maximum does not.
        nll = normaliser - chosen + S(0.0) * sum;
        loss = (1 - smoothing) * nll + smoothing * (normaliser - sum / classes);
    }
};

// Label-smoothed cross entropy of each row of logits; its gradient (unscaled, summed over rows) replaces them. A target
// that is no class gives NaN.
template <class Args>
void cross_entropy(const Args *args) {
    using S = decltype(args->smoothing);
    const i64 classes = args->classes, *targets = args->targets;
    const S smoothing = args->smoothing;
#pragma omp parallel num_threads(args->threads)
    {
        std::vector<S> powers(classes);
        S *p = powers.data();
#pragma omp for schedule(static)
        for (i64 row = 0; row < args->rows; ++row) {
            auto *logits = args->logits + row * classes;
            const RowLoss<S> own(classes, logits, args->bias, targets[row], smoothing, p, p);
            args->nll[row] = own.nll;
            args->loss[row] = own.loss;
#pragma omp simd
            for (i64 k = 0; k < classes; ++k) store(logits[k], p[k] * own.inverse - own.uniform);
            if (own.nll == own.nll) store(logits[targets[row]], own.right - own.uniform - (1 - smoothing));
        }
    }
}

// The loss of two passes: the mean of their cross entropies and alpha / 4 times KL(p || q) + KL(q || p), where p and q are
// their distributions.
template <class Args>
void r_drop(const Args *args) {
    using S = decltype(args->smoothing);
    const i64 classes = args->classes, *targets = args->targets;
    const S smoothing = args->smoothing, share = args->alpha / 4;
#pragma omp parallel num_threads(args->threads)
    {
        std::vector<S> buffer(4 * classes);
        S *p = buffer.data(), *q = p + classes, *y = q + classes, *z = y + classes;  // of the logits y and z
#pragma omp for schedule(static)
        for (i64 row = 0; row < args->rows; ++row) {
            auto *first = args->first + row * classes, *second = args->second + row * classes;
            const RowLoss<S> one(classes, first, args->bias, targets[row], smoothing, y, p);
            const RowLoss<S> two(classes, second, args->bias, targets[row], smoothing, z, q);
            const S apart = two.normaliser - one.normaliser;
            S forward = S(0.0), backward = S(0.0);
#pragma omp simd reduction(+ : forward, backward)
            for (i64 k = 0; k < classes; ++k) {
                p[k] *= one.inverse;
                q[k] *= two.inverse;
                y[k] += apart - z[k];  // log p - log q
                forward += p[k] * y[k];
                backward -= q[k] * y[k];
            }
            args->nll[row] = (one.nll + two.nll) / 2;
            args->loss[row] = (one.loss + two.loss) / 2 + share * (forward + backward);
#pragma omp simd
            for (i64 k = 0; k < classes; ++k) {
                S between = p[k] - q[k];
                store(first[k], (p[k] - one.uniform) / 2 + share * (between + p[k] * (y[k] - forward)));
                store(second[k], (q[k] - two.uniform) / 2 - share * (between + q[k] * (y[k] + backward)));
            }
            if (args->nll[row] != args->nll[row]) continue;
            const i64 target = targets[row];
            const S hit = (1 - smoothing) / 2, between = one.right - two.right, ratio = y[target];
            store(first[target],
                  (one.right - one.uniform) / 2 - hit + share * (between + one.right * (ratio - forward)));
            store(second[target],
                  (two.right - two.uniform) / 2 - hit - share * (between + two.right * (ratio + backward)));
        }
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
