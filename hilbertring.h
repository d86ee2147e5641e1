#pragma once

/// The whole library in one header: `attention` (ring/hilbertring.h) for those who have tensors and a communicator, `RingAttention` and what it is
/// made of for those who want to keep a shard between passes or to look at the schedule, and the case files.
#include "core/error.h"
#include "core/shape.h"
#include "core/specification.h"
#include "hilbert/order.h"
#include "io/case_file.h"
#include "ring/attention.h"
#include "ring/hilbertring.h"
#include "ring/loopback.h"
#include "ring/mpi_transport.h"
#include "ring/redistribution.h"
#include "ring/schedule.h"
