// kernels.h for each type of element, and the types of its fields for templates over the structs.

#pragma once

#include <cstdint>
#include <type_traits>

#include "numbers.h"

namespace fp32 {
typedef float element;
typedef float sum;
#include "kernels.h"
}  // namespace fp32

namespace brain16 {
typedef bf16 element;
typedef float sum;
#include "kernels.h"
}  // namespace brain16

namespace fp64 {
typedef double element;
typedef double sum;
#include "kernels.h"
}  // namespace fp64

namespace {

using fp32::GRU;
using fp32::LSTM;
using fp32::RNN;

// The type that a pointer field points to, without const.
template <class Pointer>
using pointed = std::remove_const_t<std::remove_pointer_t<Pointer>>;

}  // namespace
