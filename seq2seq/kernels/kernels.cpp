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

#define EXPORT(name, type)                                                                                            \
    extern "C" const type::kernel_table *kernels_##name() {                                                           \
        using namespace type;                                                                                         \
        static const kernel_table table = {                                                                           \
            HEADER_HASH,                                                                                              \
            sizeof(cell_forward_args) + sizeof(cell_sequence_args) + sizeof(cell_backward_args) +                     \
                sizeof(attend_forward_args) + sizeof(attend_backward_args) + sizeof(cross_entropy_args) +             \
                sizeof(log_sum_exp_args) + sizeof(best_continuations_args) + sizeof(pack_args) +                      \
                sizeof(packed_product_args) + sizeof(quantise_args) + sizeof(int8_product_args) +                     \
                sizeof(dequantise_args) + sizeof(dropout_args) + sizeof(kernel_table),                                \
            PANEL<sum>,                                                                                               \
            HAS_INT8,                                                                                                 \
            ::cell_forward<cell_forward_args>,                                                                        \
            ::cell_sequence<cell_sequence_args>,                                                                      \
            ::cell_backward<cell_backward_args>,                                                                      \
            ::attend_forward<attend_forward_args>,                                                                    \
            ::attend_backward<attend_backward_args>,                                                                  \
            ::cross_entropy<cross_entropy_args>,                                                                      \
            ::log_sum_exp<log_sum_exp_args>,                                                                          \
            ::best_continuations<best_continuations_args>,                                                            \
            ::pack<pack_args>,                                                                                        \
            ::packed_product<packed_product_args>,                                                                    \
            ::quantise<quantise_args>,                                                                                \
            ::int8_product<int8_product_args>,                                                                        \
            ::dequantise<dequantise_args>,                                                                            \
            ::dropout<dropout_args>,                                                                                  \
        };                                                                                                            \
        return &table;                                                                                                \
    }

EXPORT(fp32, fp32)
EXPORT(bf16, brain16)
EXPORT(fp64, fp64)
