#pragma once

/// Include once in a test that gives HDF5 damaged or refused files: LeakSanitizer then passes over what the
/// library itself loses on its error paths (measured with 1.10.8). Our own allocations are still watched.
extern "C" inline __attribute__((used)) const char* __lsan_default_suppressions() {
    return "leak:libhdf5";
}
