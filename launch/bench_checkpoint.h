#pragma once

#include "launch/command.h"
#include "launch/ranks.h"
#include "trainer/bench.h"

namespace skein {

/// `skein bench --checkpoint --shape NAME --out DIR`: what a save costs on DIR's disk. Collective.
int bench_checkpoint(const Arguments& arguments, Ranks& ranks, const BenchShape& shape);

}  // namespace skein
