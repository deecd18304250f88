// The element-wise parts of a network, each one pass over memory, for Python, and the matrix products of a search, whose
// rounding must not depend on the number of rows; other products are left to torch.
//
// kernels.h is the interface: what every array holds. Each function splits its rows among `threads`. In the templates T
// is the type of elements (float, bf16, or double for tests of gradients) and S that of sums (float; double for double).
// The loops are plain on purpose: the compiler turns them into the widest vectors of the machine it runs on.

#include "attention.h"
#include "cells.h"
#include "elements.h"
#include "int8.h"
#include "interface.h"
#include "numbers.h"
#include "product.h"
#include "vocabulary.h"

#ifndef HEADER_HASH
#error "build.py defines HEADER_HASH, the hash of kernels.h"
#endif

// In the order of kernel_table.
#define KERNELS(X)                                                                                                    \
    X(cell_forward) X(cell_sequence) X(cell_backward) X(attend_forward) X(attend_backward) X(cross_entropy) X(r_drop) \
    X(log_sum_exp) X(best_continuations) X(pack) X(packed_product) X(int8_product) X(dropout) X(program)

namespace {

template <class Args>
void program(const Args *args) {
    for (i64 call = 0; call < args->calls; ++call) args->kernels[call](args->arguments[call]);
}

}  // namespace

#define BYTES(name) sizeof(name##_args) +
#define POINTER(name) ::name<name##_args>,

#define EXPORT(name, type)                                                                                            \
    extern "C" const type::kernel_table *kernels_##name() {                                                           \
        using namespace type;                                                                                         \
        static const kernel_table table = {                                                                           \
            HEADER_HASH,                                                                                              \
            KERNELS(BYTES) sizeof(kernel_table),                                                                      \
            PANEL<sum>,                                                                                               \
            HAS_INT8,                                                                                                 \
            INT8_PANEL,                                                                                               \
            INT8_GROUP,                                                                                               \
            {GATES[fp32::LSTM], GATES[fp32::GRU], GATES[fp32::RNN]},                                                  \
            {SAVED[fp32::LSTM], SAVED[fp32::GRU], SAVED[fp32::RNN]},                                                  \
            KERNELS(POINTER)                                                                                          \
        };                                                                                                            \
        return &table;                                                                                                \
    }

EXPORT(fp32, fp32)
EXPORT(bf16, brain16)
EXPORT(fp64, fp64)
