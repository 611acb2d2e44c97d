#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define VECTOR_BYTES 32
#define NAME(x) x##_avx2
#include "instance.h"
#endif
