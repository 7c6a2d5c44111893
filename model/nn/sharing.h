#pragma once

#include <cstdint>

#include "model/autograd/ops/collective.h"
#include "model/autograd/ops/linear.h"
#include "model/nn/model_config.h"
#include "model/tensor/layout.h"

namespace skein {

/// How the layers of a model are shared out over the ranks of a tensor-parallel group (Shoeybi et al.,
/// Megatron-LM, 2019): attention by heads, feed-forward and vocabulary by slices. Between the sublayers all
/// ranks have the same activations; with sequence parallelism (Korthikanti et al., 2022) each rank has a
/// slice of their rows there, when it trains.
struct TensorSharing {
    /// Slices of feed-forward width and vocabulary begin at multiples of this: a dropout mask is made of
    /// eights, and rows in 16 bits are then aligned to 16 bytes.
    static constexpr int kGrain = 8;

    TensorGroup* group = nullptr;  ///< null: each rank has the whole model
    bool sequence = false;

    int rank() const { return group ? group->rank() : 0; }
    int size() const { return group ? group->size() : 1; }
    /// What this rank has of a parameter that is split along an axis.
    Layout split(int axis, int grain = 1) const {
        return group ? Layout::split(axis, size(), rank(), grain) : Layout::replicated();
    }
    /// Of `extent` elements that are cut in slices: [first, first + count).
    struct Slice {
        std::int64_t first = 0, count = 0;
    };
    Slice slice_in_eights(std::int64_t extent) const {
        if (!group) return {0, extent};
        const Layout layout = split(0, kGrain);
        return {layout.begin({extent}), layout.end({extent}) - layout.begin({extent})};
    }

    bool slices_rows(const Tape& tape) const { return group && sequence && tape.trains(); }
    /// Rows between the sublayers, of `rows` in all.
    Slice own_rows(const Tape& tape, std::int64_t rows) const {
        if (!slices_rows(tape)) return {0, rows};
        const std::int64_t first = slice_begin(rows, size(), rank());
        return {first, slice_begin(rows, size(), rank() + 1) - first};
    }
    /// From between the sublayers into one: all rows, of which there are `rows`.
    Var enter(const Var& x, std::int64_t rows) const {
        if (!group) return x;
        return slices_rows(x.tape()) ? gather_from_group(*group, x, rows) : copy_to_group(*group, x);
    }
    /// And back: the sum of what each rank's part of the sublayer gave.
    Var leave(const Var& part) const {
        if (!group) return part;
        return slices_rows(part.tape()) ? scatter_sum_to_group(*group, part) : sum_over_group(*group, part);
    }
    /// Of such a sum one rank's part has the bias.
    BiasUse bias_of_a_sum() const { return rank() == 0 ? BiasUse::kAdd : BiasUse::kGradientOnly; }
};

/// Throws ConfigError, naming --parallel.tensor and what does not fit, for a model that this many ranks
/// cannot share.
void check_sharing(const ModelConfig& config, int ranks);

/// A rank's heads of an attention.
struct OwnHeads {
    std::int64_t heads = 0, first_head = 0;
    std::int64_t key_value_heads = 0;         ///< that its heads read
    std::int64_t stored_key_value_heads = 0;  ///< that it has the weights of
    std::int64_t first_key_value_head = 0;    ///< of the stored ones
    std::int64_t head_width = 0;
    /// Whether the group's ranks outnumber the key-value heads: then each has all of their weights, computes
    /// all, and reads one.
    bool copies_key_values = false;

    OwnHeads(const ModelConfig& config, const TensorSharing& sharing)
        : heads(config.heads / sharing.size()),
          first_head(heads * sharing.rank()),
          head_width(config.head_width()),
          copies_key_values(config.kv_heads() % sharing.size() != 0) {
        const std::int64_t all = config.kv_heads();
        key_value_heads = copies_key_values ? 1 : all / sharing.size();
        stored_key_value_heads = copies_key_values ? all : key_value_heads;
        first_key_value_head = copies_key_values ? first_head / (config.heads / all) : 0;
    }
    std::int64_t width() const { return heads * head_width; }
    std::int64_t stored_key_value_width() const { return stored_key_value_heads * head_width; }
};

}  // namespace skein
