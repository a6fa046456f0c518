#include "CMemory.h"

#include <malloc.h>

void cmemory_keep_large_blocks_apart(void) {
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}

void cmemory_trim(void) {
    malloc_trim(0);
}
