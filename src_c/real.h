/* The two macros that carry the element type through the files that are compiled once per type.
 *
 * A body (`*.inc`) is written over `real` and `FN(name)`. Including this file with FNN_REAL_IS_DOUBLE
 * defined as 0 or 1 sets both; including it again with another value sets them anew. */

#undef real
#undef FN
#undef REAL

#if FNN_REAL_IS_DOUBLE
#define real double
#define FN(name) fnn_##name##_f64
#define REAL(literal) literal
#else
#define real float
#define FN(name) fnn_##name##_f32
#define REAL(literal) literal##f
#endif
