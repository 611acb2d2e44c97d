#define VECTOR_BYTES 16
#define NAME(x) x##_baseline
#include "instance.h"
