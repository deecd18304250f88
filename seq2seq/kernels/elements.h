// Element by element: 8-bit numbers and dropout.

#pragma once

#include <cmath>
#include <cstdint>

#include "numbers.h"

namespace {

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
