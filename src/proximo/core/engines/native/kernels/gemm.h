// C[m][n] (+)= bias[n] + sum_k A[m·am + k·ak] · B[k·ldb + n]: the one product behind forward and backward passes.
// Vectors run along n, whose extent is a multiple of PAD; a tile of C stays in registers over all of k.

namespace {

#if VECTOR_BYTES == 64
enum { TILE_ROWS = 6, TILE_VECTORS = 4 };
#else
enum { TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif

template <class T, int R, int NV>
inline void tile(int64_t depth, const T *A, int64_t am, int64_t ak, const T *B, int64_t ldb, T *C, int64_t ldc,
                 const T *bias, bool add) {
    typedef typename Vec<T>::v V;
    enum { W = Vec<T>::LANES };
    V acc[R][NV];
    for (int r = 0; r < R; r++)
        for (int j = 0; j < NV; j++) {
            V first = bias ? load(bias + j * W) : (V){};
            acc[r][j] = add ? load(C + r * ldc + j * W) + first : first;
        }
    for (int64_t k = 0; k < depth; k++) {
        V b[NV];
        for (int j = 0; j < NV; j++) b[j] = load(B + k * ldb + j * W);
        for (int r = 0; r < R; r++) {
            V a = splat(A[r * am + k * ak]);
            for (int j = 0; j < NV; j++) acc[r][j] += a * b[j];
        }
    }
    for (int r = 0; r < R; r++)
        for (int j = 0; j < NV; j++) store(C + r * ldc + j * W, acc[r][j]);
}

template <class T, int NV>
void columns(int64_t rows, int64_t depth, const T *A, int64_t am, int64_t ak, const T *B, int64_t ldb, T *C,
             int64_t ldc, const T *bias, bool add) {
    int64_t m = 0;
    for (; m + TILE_ROWS <= rows; m += TILE_ROWS)
        tile<T, TILE_ROWS, NV>(depth, A + m * am, am, ak, B, ldb, C + m * ldc, ldc, bias, add);
    A += m * am, C += m * ldc;
    switch (rows - m) {
    case 5: tile<T, 5, NV>(depth, A, am, ak, B, ldb, C, ldc, bias, add); break;
    case 4: tile<T, 4, NV>(depth, A, am, ak, B, ldb, C, ldc, bias, add); break;
    case 3: tile<T, 3, NV>(depth, A, am, ak, B, ldb, C, ldc, bias, add); break;
    case 2: tile<T, 2, NV>(depth, A, am, ak, B, ldb, C, ldc, bias, add); break;
    case 1: tile<T, 1, NV>(depth, A, am, ak, B, ldb, C, ldc, bias, add); break;
    }
}

template <class T>
void gemm(int64_t rows, int64_t width, int64_t depth, const T *A, int64_t am, int64_t ak, const T *B, int64_t ldb,
          T *C, int64_t ldc, const T *bias, bool add) {
    enum { W = Vec<T>::LANES };
    int64_t n = 0;
    for (; n + TILE_VECTORS * W <= width; n += TILE_VECTORS * W)
        columns<T, TILE_VECTORS>(rows, depth, A, am, ak, B + n, ldb, C + n, ldc, bias ? bias + n : bias, add);
    for (; n + 2 * W <= width; n += 2 * W)
        columns<T, 2>(rows, depth, A, am, ak, B + n, ldb, C + n, ldc, bias ? bias + n : bias, add);
    for (; n < width; n += W)
        columns<T, 1>(rows, depth, A, am, ak, B + n, ldb, C + n, ldc, bias ? bias + n : bias, add);
}

} // namespace
