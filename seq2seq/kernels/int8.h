// Products in 8 bits with the dot products of AVX-512 or AVX (VNNI), or with the instructions of AVX2. kernels.h describes
// the arguments.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "interface.h"
#include "numbers.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

constexpr i64 INT8_PANEL = 16, INT8_ROWS = 96;

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
constexpr i64 HAS_INT8 = 1, INT8_GROUP = 4;
constexpr std::int32_t INT8_OFFSET = 128;  // a row's sums are too large by this times the sum of the row
using int8_input = std::int8_t;

#if defined(__AVX512VNNI__)
constexpr i64 INT8_TILE = 8, INT8_VECTORS = 1;
using int8_vector = __m512i;
inline int8_vector read(const std::int8_t *w) { return _mm512_xor_si512(_mm512_loadu_si512(w), _mm512_set1_epi8(-128)); }
inline int8_vector dot(int8_vector sum, int8_vector w, std::int32_t x) {
    return _mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(x));
}
#else
constexpr i64 INT8_TILE = 6, INT8_VECTORS = 2;
using int8_vector = __m256i;
inline int8_vector read(const std::int8_t *w) {
    return _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(w)), _mm256_set1_epi8(-128));
}
inline int8_vector dot(int8_vector sum, int8_vector w, std::int32_t x) {
    return _mm256_dpbusd_avx_epi32(sum, w, _mm256_set1_epi32(x));
}
#endif

// R rows times one panel. The instruction multiplies unsigned by signed numbers, so 128 is added to the weights.
template <int R>
inline void int8_tile(i64 groups, const std::int8_t *x, const std::int8_t *w, std::int32_t *sums) {
    int8_vector sum[R][INT8_VECTORS] = {};
    for (i64 k = 0; k < groups; ++k) {
        int8_vector weights[INT8_VECTORS];
        for (i64 v = 0; v < INT8_VECTORS; ++v)
            weights[v] = read(w + INT8_GROUP * INT8_PANEL * k + v * i64(sizeof(int8_vector)));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            std::int32_t group;
            std::memcpy(&group, x + INT8_GROUP * (r * groups + k), 4);
            for (i64 v = 0; v < INT8_VECTORS; ++v) sum[r][v] = dot(sum[r][v], weights[v], group);
        }
    }
    std::memcpy(sums, sum, sizeof(sum));
}
#elif defined(__AVX2__)
constexpr i64 HAS_INT8 = 1, INT8_GROUP = 2, INT8_TILE = 6;
constexpr std::int32_t INT8_OFFSET = 0;
using int8_input = std::int16_t;

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
constexpr i64 HAS_INT8 = 0, INT8_GROUP = 2, INT8_TILE = 6;
constexpr std::int32_t INT8_OFFSET = 0;
using int8_input = std::int16_t;

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

inline void int8_tile_of(i64 rows, i64 groups, const int8_input *x, const std::int8_t *w, std::int32_t *sums) {
    switch (rows) {
        case 1: return int8_tile<1>(groups, x, w, sums);
        case 2: return int8_tile<2>(groups, x, w, sums);
        case 3: return int8_tile<3>(groups, x, w, sums);
        case 4: return int8_tile<4>(groups, x, w, sums);
        case 5: return int8_tile<5>(groups, x, w, sums);
        case 6: return int8_tile<6>(groups, x, w, sums);
        case 7: return int8_tile<7>(groups, x, w, sums);
        default: return int8_tile<INT8_TILE>(groups, x, w, sums);
    }
}

// One row of x in 8 bits, and the sum of the numbers: round(x / scale) with scale = max |x| / 127. The scale of a row with
// NaN or infinity is NaN.
template <class Args, class S>
inline S quantise_row(const Args *args, i64 row, int8_input *to, std::int32_t *total) {
    S largest = 0;
    std::int32_t finite = 0, sum = 0;
    for (i64 part = 0; part < args->parts; ++part) {
        const auto *x = args->x[part] + row * args->strides[part];
#pragma omp simd reduction(max : largest) reduction(+ : finite)
        for (i64 k = 0; k < args->widths[part]; ++k) {
            S magnitude = std::fabs(load(x[k]));
            largest = magnitude > largest ? magnitude : largest;
            finite += magnitude <= std::numeric_limits<S>::max();
        }
    }
    if (finite < args->inputs) {
        *total = 0;  // the row stays 0
        return std::numeric_limits<S>::quiet_NaN();
    }
    const S scale = largest > 0 ? largest / 127 : 1;
    for (i64 part = 0; part < args->parts; to += args->widths[part++]) {
        const auto *x = args->x[part] + row * args->strides[part];
#pragma omp simd reduction(+ : sum)
        for (i64 k = 0; k < args->widths[part]; ++k) {
            const std::int32_t value = static_cast<std::int32_t>(std::nearbyint(load(x[k]) / scale));
            to[k] = int8_input(value);
            sum += value;
        }
    }
    *total = sum;
    return scale;
}

// x W^T + b, or its tanh; the rows of W have scales of their own, too.
template <class Args>
void int8_product(const Args *args) {
    using S = pointed<decltype(args->scales)>;
    const i64 rows = args->rows, outputs = args->outputs;
    const i64 panels = (outputs + INT8_PANEL - 1) / INT8_PANEL;
    const i64 groups = (args->inputs + INT8_GROUP - 1) / INT8_GROUP, stride = INT8_GROUP * groups;
    std::vector<int8_input> x(rows * stride);
    std::vector<std::int32_t> totals(rows);
    std::vector<S> x_scales(rows);
#pragma omp parallel num_threads(args->threads)
    {
#pragma omp for schedule(static)
        for (i64 row = 0; row < rows; ++row)
            x_scales[row] = quantise_row<Args, S>(args, row, x.data() + row * stride, &totals[row]);
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
                    int8_tile_of(tall, groups, x.data() + row * stride, args->packed + first * stride, sums);
                    for (i64 r = 0; r < tall; ++r) {
                        const S scale = x_scales[row + r];
                        const std::int32_t offset = INT8_OFFSET * totals[row + r];
                        for (i64 c = 0; c < INT8_PANEL; ++c)
                            values[c] = (sums[r * INT8_PANEL + c] - offset) * scales[c] * scale + bias[c];
                        for (i64 c = 0; c < INT8_PANEL && args->tanh; ++c) values[c] = hyperbolic_tangent(values[c]);
                        for (i64 c = 0; c < width; ++c) store(args->output[(row + r) * outputs + first + c], values[c]);
                    }
                }
            }
        }
    }
}

}  // namespace
