// zlib's public header, and a macro that Swift's importer cannot take from it.
#ifndef THERAPYBRIDGE_CZLIB_SHIM_H
#define THERAPYBRIDGE_CZLIB_SHIM_H

#include <zlib.h>

// The window of 2^15 bytes is zlib's largest. 16 more means a gzip header and trailer (zlib.h, deflateInit2).
static inline int czlib_begin_gzip(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

#endif
