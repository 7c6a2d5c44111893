#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_store.h"
#include "model/base/philox.h"

namespace skein {

/// How one rank of a grid of `data` times `tensor` ranks holds the example; tensor ranks are next to each
/// other.
struct ExampleGrid {
    int data = 1, tensor = 1;
    bool by_columns = false;  ///< matrices are split along axis 1 instead of 0
    /// Each data rank holds a run of what its tensor rank has of each moment; some hold two, some nothing.
    bool sharded = false;

    int size() const { return data * tensor; }
};

/// A rank's part of a small run's state, and the memory that it lies in. Values are a function of the
/// tensor's name, the global index and the step.
class ExampleState {
  public:
    /// With `large`, one tensor more, of more than kWholeBytes.
    ExampleState(std::uint64_t step, ExampleGrid grid = {}, int rank = 0, bool large = false) {
        const int part = rank % grid.tensor;
        const Layout split = Layout::split(grid.by_columns ? 1 : 0, grid.tensor, part);
        for (const char* group : {"parameters/", "moment1/", "moment2/"}) {
            const std::string prefix = group;
            add(prefix + "embedding.weight", DType::f32, {37, 24},
                grid.tensor > 1 ? split : Layout::replicated(), step);
            add(prefix + "block.0.qkv.weight", DType::f32, {3, 4, 6, 24},
                grid.tensor > 1 ? Layout::split(grid.by_columns ? 3 : 1, grid.tensor, part)
                                : Layout::replicated(),
                step);
            add(prefix + "block.0.norm.bias", DType::f32, {24}, Layout::replicated(), step);
            add(prefix + "block.0.half", DType::bf16, {5, 3}, Layout::replicated(), step);
        }
        if (large)
            add("large", DType::f32, {1201, 250}, grid.tensor > 1 ? split : Layout::replicated(), step);
        add("scalar", DType::f64, {}, Layout::replicated(), step);
        add("empty", DType::i64, {0, 4}, Layout::replicated(), step);
        for (std::size_t i = 0; i < state.tensors.size(); ++i) hold(i, grid, rank / grid.tensor);
        state.run.step = step;
        state.run.updates = step - 1;
        state.run.place = {1, 2, 3 * step};
        state.run.loss_scale = {1024.0, step, 1};
        state.run.configuration = {{"model.width", "24"}, {"train.seed", "7"}};
        state.run.leans_on = {{"cpu", "an example"}};
        state.run.grid = {static_cast<std::uint64_t>(grid.data), static_cast<std::uint64_t>(grid.tensor)};
        state.tokenizer = {{"tokenizer.json", "{\"kind\": \"bytes\"}\n"}};
    }
    ExampleState(const ExampleState&) = delete;
    ExampleState& operator=(const ExampleState&) = delete;

    void clear() {
        for (auto& bytes : memory_) bytes.assign(bytes.size(), std::byte{0xEE});
    }
    const std::vector<std::vector<std::byte>>& memory() const { return memory_; }

    CheckpointState state;

  private:
    void add(const std::string& name, DType dtype, const Shape& shape, Layout layout, std::uint64_t step) {
        std::vector<std::byte> whole(static_cast<std::size_t>(shape.elements()) * size_of(dtype));
        std::uint64_t seed = step;
        for (const char c : name) seed = seed * 131 + static_cast<unsigned char>(c);
        const PhiloxKey key = philox_key(seed, RandomPurpose::kBench, 0, 0);
        for (std::size_t i = 0; i < whole.size(); ++i)
            whole[i] = static_cast<std::byte>(philox_at(i / 4, key)[i % 4]);
        // The slice by a plain loop over all indices, so that it does not lean on what is tested.
        const Shape local = layout.local(shape);
        std::vector<std::byte> mine;
        for (std::int64_t flat = 0; flat < shape.elements(); ++flat) {
            std::int64_t rest = flat, along = 0;
            for (int axis = shape.rank() - 1; axis >= 0; --axis) {
                if (axis == layout.axis) along = rest % shape[axis];
                rest /= shape[axis];
            }
            const std::int64_t begin = layout.begin(shape);
            if (layout.is_split() && (along < begin || along >= begin + local[layout.axis])) continue;
            const auto at = whole.begin() + flat * static_cast<std::int64_t>(size_of(dtype));
            mine.insert(mine.end(), at, at + static_cast<std::int64_t>(size_of(dtype)));
        }
        memory_.push_back(std::move(mine));
        layouts_.push_back(layout);
        state.tensors.push_back({name, dtype, shape, {}});
    }

    /// The memory holds what is held of tensor i, run by run.
    void hold(std::size_t i, const ExampleGrid& grid, int data_rank) {
        StateTensor& tensor = state.tensors[i];
        if (!grid.sharded || !tensor.name.starts_with("moment")) return tensor.add(layouts_[i], memory_[i]);
        const std::vector<std::byte> all = memory_[i];
        const auto element = static_cast<std::int64_t>(size_of(tensor.dtype));
        const std::int64_t count = std::ssize(all) / element;
        // two rounds of runs, as two buckets would make them: of the first fifth, and of what is behind it
        std::vector<std::pair<std::int64_t, std::int64_t>> runs;
        memory_[i].clear();
        for (const auto& [first, last] :
             {std::pair(std::int64_t{0}, count / 5), std::pair(count / 5, count)}) {
            const std::int64_t begin = slice_begin(last - first, grid.data, data_rank) + first,
                               end = slice_begin(last - first, grid.data, data_rank + 1) + first;
            runs.emplace_back(begin, end);
            memory_[i].insert(memory_[i].end(), all.begin() + begin * element, all.begin() + end * element);
        }
        std::span<std::byte> rest = memory_[i];
        for (const auto& [begin, end] : runs) {
            const auto bytes = static_cast<std::size_t>((end - begin) * element);
            tensor.add_run(layouts_[i], begin, end, rest.first(bytes));
            rest = rest.subspan(bytes);
        }
    }

    std::vector<std::vector<std::byte>> memory_;
    std::vector<Layout> layouts_;
};

}  // namespace skein
