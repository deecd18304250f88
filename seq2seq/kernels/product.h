// Products of few or many rows with a packed matrix, whose rounding of a row depends on no other row. kernels.h describes
// the arguments.

#pragma once

#include <algorithm>
#include <cstring>

#include "interface.h"
#include "numbers.h"

namespace {

#if defined(__AVX512F__)
constexpr i64 VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr i64 VECTOR_BYTES = 32;
#else
constexpr i64 VECTOR_BYTES = 16;
#endif

// The terms of an output are summed in blocks of K_BLOCK inputs, each in order, then the blocks' sums in order. A block of
// one panel stays in the first-level cache while all rows pass, and ROWS rows of it in the second-level cache.
constexpr i64 K_BLOCK = 256, ROWS = 144, TILE_ROWS = 6;

// A panel: the outputs that a tile computes, two vectors of them.
template <class S>
constexpr i64 PANEL = 2 * VECTOR_BYTES / static_cast<i64>(sizeof(S));

// Bring [outputs, inputs] into blocks of K_BLOCK inputs of panels of [inputs, PANEL]; the last panel is filled with zeros.
template <class Args>
void pack(const Args *args) {
    using T = pointed<decltype(args->weight)>;
    using S = pointed<decltype(args->packed)>;
    constexpr i64 panel = PANEL<S>;
    const i64 inputs = args->inputs, outputs = args->outputs, panels = (outputs + panel - 1) / panel;
#pragma omp parallel for num_threads(args->threads) schedule(static)
    for (i64 number = 0; number < panels; ++number) {
        for (i64 start = 0; start < inputs; start += K_BLOCK) {
            const i64 count = std::min(K_BLOCK, inputs - start);
            S *to = args->packed + start * panels * panel + number * count * panel;
            for (i64 c = 0; c < panel; ++c) {
                const i64 output = number * panel + c;
                const T *from = args->weight + output * args->weight_stride + start;
                for (i64 k = 0; k < count; ++k) to[k * panel + c] = output < outputs ? load(from[k]) : S(0.0);
            }
        }
    }
}

// R rows of x times one block of one panel.
template <int R, class T, class S>
inline void tile(i64 count, const T *x, i64 x_stride, const S *w, S *sums) {
    constexpr i64 lanes = PANEL<S> / 2;
    typedef S vector __attribute__((vector_size(VECTOR_BYTES)));
    vector sum[R][2] = {};
    for (i64 k = 0; k < count; ++k) {
        vector first, second;
        std::memcpy(&first, w + k * PANEL<S>, VECTOR_BYTES);
        std::memcpy(&second, w + k * PANEL<S> + lanes, VECTOR_BYTES);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const S value = load(x[r * x_stride + k]);
            sum[r][0] += value * first;
            sum[r][1] += value * second;
        }
    }
    std::memcpy(sums, sum, sizeof(sum));
}

template <class T, class S>
inline void tile_of(i64 rows, i64 count, const T *x, i64 x_stride, const S *w, S *sums) {
    switch (rows) {
        case 1: return tile<1>(count, x, x_stride, w, sums);
        case 2: return tile<2>(count, x, x_stride, w, sums);
        case 3: return tile<3>(count, x, x_stride, w, sums);
        case 4: return tile<4>(count, x, x_stride, w, sums);
        case 5: return tile<5>(count, x, x_stride, w, sums);
        default: return tile<TILE_ROWS>(count, x, x_stride, w, sums);
    }
}

// x W^T + b, with a packed W. Each thread computes its own panels for all rows.
template <class T, class S>
void multiply([[maybe_unused]] int threads, i64 rows, i64 inputs, i64 outputs, const T *x, const S *packed,
              const S *bias, T *output) {
    constexpr i64 panel = PANEL<S>;
    const i64 panels = (outputs + panel - 1) / panel;
#pragma omp parallel num_threads(threads)
    for (i64 top = 0; top < rows; top += ROWS) {
        const i64 end = std::min(rows, top + ROWS);
        for (i64 start = 0; start < inputs; start += K_BLOCK) {
            const i64 count = std::min(K_BLOCK, inputs - start);
            const S *block = packed + start * panels * panel;
#pragma omp for schedule(static) nowait
            for (i64 number = 0; number < panels; ++number) {
                const i64 first = number * panel, width = std::min(panel, outputs - first);
                for (i64 row = top; row < end; row += TILE_ROWS) {
                    const i64 tall = std::min(TILE_ROWS, end - row);
                    S sums[TILE_ROWS * panel];
                    tile_of(tall, count, x + row * inputs + start, inputs, block + number * count * panel, sums);
                    for (i64 r = 0; r < tall; ++r) {
                        T *y = output + (row + r) * outputs + first;
                        const S *sum = sums + r * panel;
                        for (i64 c = 0; c < width; ++c) {
                            const S before = start ? load(y[c]) : bias ? bias[first + c] : S(0.0);
                            store(y[c], before + sum[c]);
                        }
                    }
                }
            }
        }
    }
}

template <class Args>
void packed_product(const Args *args) {
    multiply(args->threads, args->rows, args->inputs, args->outputs, args->x, args->packed, args->bias, args->output);
}

}  // namespace
