// Element by element: 8-bit numbers and dropout. kernels.h describes the arguments.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "interface.h"
#include "numbers.h"

namespace {

// Each row in 8 bits: round(x / scale) + 128 with scale = max |x| / 127, so that 128 is 0. The scale of a row with NaN
// or infinity is NaN, and so are its products.
template <class Args>
void quantise(const Args *args) {
    using T = pointed<decltype(args->values)>;
    using S = pointed<decltype(args->scales)>;
    const i64 rows = args->rows, columns = args->columns;
    const T *values = args->values;
    std::uint8_t *output = args->output;
    S *scales = args->scales;
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        const T *x = values + row * columns;
        std::uint8_t *to = output + row * columns;
        S largest = 0;
        std::int32_t finite = 0;
#pragma omp simd reduction(max : largest) reduction(+ : finite)
        for (i64 k = 0; k < columns; ++k) {
            S magnitude = std::fabs(load(x[k]));
            largest = magnitude > largest ? magnitude : largest;
            finite += magnitude <= std::numeric_limits<S>::max();
        }
        S scale = finite < columns ? std::numeric_limits<S>::quiet_NaN() : largest > 0 ? largest / 127 : 1;
        scales[row] = scale;
#pragma omp simd
        for (i64 k = 0; k < columns; ++k)
            to[k] = static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(load(x[k]) / scale)) + 128);
    }
}

// product * (the row's scale) + bias, in the type of the output.
template <class Args>
void dequantise(const Args *args) {
    using T = pointed<decltype(args->output)>;
    using S = pointed<decltype(args->scales)>;
    const i64 rows = args->rows, columns = args->columns;
    const S *product = args->product, *scales = args->scales, *bias = args->bias;
    T *output = args->output;
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 row = 0; row < rows; ++row) {
        const S *x = product + row * columns;
        T *to = output + row * columns;
        S scale = scales[row];
#pragma omp simd
        for (i64 k = 0; k < columns; ++k) store(to[k], x[k] * scale + (bias ? bias[k] : 0));
    }
}

// Keep each element with probability `keep` and divide it by that. A hash of (seed, index) decides, so backward keeps the
// same elements and nothing is stored. The mixer is lowbias32 (C. Wellons, "hash-prospector").
template <class Args>
void dropout(const Args *args) {
    using T = pointed<decltype(args->values)>;
    using S = decltype(args->keep);
    const i64 count = args->count;
    const T *input = args->values;
    T *output = args->output;
    const S keep = args->keep;
    const std::uint64_t seed = args->seed;
    const std::uint32_t threshold = static_cast<std::uint32_t>(static_cast<float>(keep) * 4294967040.0f);
    const std::uint32_t low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
    const S scale = 1 / keep;
#pragma omp parallel for simd num_threads(args->threads) schedule(static)
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
