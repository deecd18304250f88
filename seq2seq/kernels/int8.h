// Products in 8 bits with the instructions of AVX2. kernels.h describes the arguments.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "interface.h"
#include "numbers.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

constexpr i64 INT8_PANEL = 16, INT8_TILE = 6, INT8_ROWS = 96;

#if defined(__AVX2__)
constexpr int HAS_INT8 = 1;

// R rows times one panel: pairs of terms are multiplied in 16 bits and summed in 32, which no value overflows.
template <int R>
inline void int8_tile(i64 pairs, const std::int16_t *x, const std::int8_t *w, std::int32_t *sums) {
    __m256i sum[R][2] = {};
    for (i64 k = 0; k < pairs; ++k) {
        const __m128i *both = reinterpret_cast<const __m128i *>(w + 2 * INT8_PANEL * k);
        const __m256i first = _mm256_cvtepi8_epi16(_mm_loadu_si128(both));
        const __m256i second = _mm256_cvtepi8_epi16(_mm_loadu_si128(both + 1));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            std::int32_t pair;
            std::memcpy(&pair, x + 2 * (r * pairs + k), 4);
            const __m256i values = _mm256_set1_epi32(pair);
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(values, first));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(values, second));
        }
    }
    std::memcpy(sums, sum, sizeof(sum));
}
#else
constexpr int HAS_INT8 = 0;

template <int R>
inline void int8_tile(i64 pairs, const std::int16_t *x, const std::int8_t *w, std::int32_t *sums) {
    for (i64 r = 0; r < R; ++r) {
        for (i64 c = 0; c < INT8_PANEL; ++c) {
            std::int32_t sum = 0;
            for (i64 k = 0; k < 2 * pairs; ++k)
                sum += x[2 * r * pairs + k] * w[2 * INT8_PANEL * (k / 2) + 2 * c + k % 2];
            sums[r * INT8_PANEL + c] = sum;
        }
    }
}
#endif

inline void int8_tile_of(i64 rows, i64 pairs, const std::int16_t *x, const std::int8_t *w, std::int32_t *sums) {
    switch (rows) {
        case 1: return int8_tile<1>(pairs, x, w, sums);
        case 2: return int8_tile<2>(pairs, x, w, sums);
        case 3: return int8_tile<3>(pairs, x, w, sums);
        case 4: return int8_tile<4>(pairs, x, w, sums);
        case 5: return int8_tile<5>(pairs, x, w, sums);
        default: return int8_tile<INT8_TILE>(pairs, x, w, sums);
    }
}

// x W^T + b of rows in 8 bits, each with a scale, as are the rows of W.
template <class Args>
void int8_product(const Args *args) {
    using S = pointed<decltype(args->scales)>;
    const i64 rows = args->rows, inputs = args->inputs, outputs = args->outputs, pairs = (inputs + 1) / 2;
    const i64 panels = (outputs + INT8_PANEL - 1) / INT8_PANEL;
    std::vector<std::int16_t> x(rows * 2 * pairs);
    for (i64 row = 0; row < rows; ++row)
        for (i64 k = 0; k < inputs; ++k) x[row * 2 * pairs + k] = std::int16_t(args->x[row * inputs + k]) - 128;
#pragma omp parallel num_threads(args->threads)
    for (i64 top = 0; top < rows; top += INT8_ROWS) {
        const i64 end = std::min(rows, top + INT8_ROWS);
#pragma omp for schedule(static) nowait
        for (i64 panel = 0; panel < panels; ++panel) {
            const i64 first = panel * INT8_PANEL, width = std::min(INT8_PANEL, outputs - first);
            // Whole panels, also at the end: the compiler rounds the rest of a loop in another way than its vectors.
            S scales[INT8_PANEL] = {}, bias[INT8_PANEL] = {}, values[INT8_PANEL];
            std::copy_n(args->scales + first, width, scales);
            if (args->bias) std::copy_n(args->bias + first, width, bias);
            for (i64 row = top; row < end; row += INT8_TILE) {
                const i64 tall = std::min(INT8_TILE, end - row);
                std::int32_t sums[INT8_TILE * INT8_PANEL];
                int8_tile_of(tall, pairs, x.data() + row * 2 * pairs, args->packed + first * 2 * pairs, sums);
                for (i64 r = 0; r < tall; ++r) {
                    const S scale = args->x_scales[row + r];
                    for (i64 c = 0; c < INT8_PANEL; ++c) values[c] = sums[r * INT8_PANEL + c] * scales[c] * scale + bias[c];
                    for (i64 c = 0; c < width; ++c) store(args->output[(row + r) * outputs + first + c], values[c]);
                }
            }
        }
    }
}

}  // namespace
