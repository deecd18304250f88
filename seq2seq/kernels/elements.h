// Element by element: dropout. kernels.h describes the arguments.

#pragma once

#include <cstdint>

#include "interface.h"
#include "numbers.h"

namespace {

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
