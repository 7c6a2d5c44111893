#include "model/tensor/work_meter.h"

#include "model/tensor/stream.h"

namespace skein {

void WorkMeter::begin(Stream& stream, const Work& work) {
    if (used_ == spans_.size()) spans_.emplace_back();
    spans_[used_].work = work;
    spans_[used_].begun.record(stream);
}

void WorkMeter::end(Stream& stream) {
    spans_[used_].ended.record(stream);
    ++used_;
}

std::vector<WorkMeter::Entry> WorkMeter::take(Stream& stream) {
    stream.synchronize();
    std::vector<Entry> entries;
    entries.reserve(used_);
    for (std::size_t i = 0; i < used_; ++i)
        entries.push_back({spans_[i].work, spans_[i].ended.seconds_since(spans_[i].begun)});
    used_ = 0;
    return entries;
}

}  // namespace skein
