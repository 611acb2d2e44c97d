#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#define VECTOR_BYTES 64
#define NAME(x) x##_avx512
#include "instance.h"
#endif
