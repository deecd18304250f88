// Types of numbers, and functions of one number.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

struct bf16 {
    std::uint16_t bits;
};

namespace {

using i64 = std::int64_t;

inline float load(float x) { return x; }

inline double load(double x) { return x; }

inline float load(bf16 x) {
    std::uint32_t wide = static_cast<std::uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
}

inline void store(float &to, float x) { to = x; }

inline void store(double &to, double x) { to = x; }

inline void store(bf16 &to, float x) {  // to nearest, ties to even; NaN stays NaN
    std::uint32_t wide;
    std::memcpy(&wide, &x, 4);
    std::uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    to.bits = static_cast<std::uint16_t>(x == x ? rounded : 0x7fc0);
}

// e^x: 2^n times a polynomial for the rest (Cephes expf); relative error below 4e-6.
inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    float n = std::nearbyint(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    std::int32_t exponent = (static_cast<std::int32_t>(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &exponent, 4);
    return p * scale;
}

inline double exponential(double x) { return std::exp(x); }

template <class S>
inline S sigmoid(S x) {
    return 1 / (1 + exponential(-x));
}

template <class S>
inline S hyperbolic_tangent(S x) {
    return 1 - 2 / (1 + exponential(2 * x));
}

template <class P>
inline P *moved(P *pointer, i64 count) {
    return pointer ? pointer + count : nullptr;
}

}  // namespace
