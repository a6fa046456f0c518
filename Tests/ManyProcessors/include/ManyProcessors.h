// The number of processors that a program sees with this library.
#ifndef THERAPYBRIDGE_MANY_PROCESSORS_H
#define THERAPYBRIDGE_MANY_PROCESSORS_H

#define MANY_PROCESSORS 64

#endif
