#include "model/decode/beam_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "model/base/error.h"
#include "model/base/parallel_for.h"
#include "model/decode/beam.h"
#include "model/kernels/cross_entropy.h"

namespace skein {
namespace {

using Sources = std::vector<std::vector<std::int32_t>>;
using Results = std::vector<std::vector<Hypothesis>>;

void check(const ModelConfig& config, const Sources& sources, const BeamOptions& options) {
    const auto token = [&](std::int32_t id) { return id >= 0 && id < config.vocabulary; };
    if (options.beams < 1 || options.best < 1 || options.best > options.beams || !(options.alpha >= 0.0) ||
        !(options.length_factor >= 0.0) || options.length_extra < 0)
        throw ConfigError(text("beam search: ", options.beams, " beams, ", options.best, " best, alpha ",
                               options.alpha, ", length ", options.length_factor, " · source + ",
                               options.length_extra,
                               "; wanted at least one beam, 1 to as many best, and nothing else negative"));
    if (!token(options.begin) || !token(options.end))
        throw ConfigError(text("beam search: begin ", options.begin, " and end ", options.end,
                               " are not both in the vocabulary of ", config.vocabulary));
    for (const auto& source : sources) {
        if (source.empty() || static_cast<std::int64_t>(source.size()) > config.context)
            throw DataError(
                text("beam search: a source has ", source.size(), " tokens, wanted 1 to ", config.context));
        for (const std::int32_t id : source)
            if (id < 0 || id >= config.source_ids())
                throw DataError(
                    text("beam search: token ", id, " is outside the vocabulary of ", config.source_ids()));
    }
}

/// Tokens that a target may have before its end token. The last position reads the last of them behind the
/// begin token.
std::int64_t max_length(const ModelConfig& config, std::size_t source, const BeamOptions& options) {
    const double wanted =
        options.length_factor * static_cast<double>(source) + static_cast<double>(options.length_extra);
    return static_cast<std::int64_t>(std::min(wanted, static_cast<double>(config.context - 1)));
}

/// What the model says of each row, for the host: [rows, vocabulary] logits with the best token and its -log
/// p.
struct Predictions {
    Tensor logits, nll;
    std::vector<std::int32_t> most_probable;

    Predictions(Stream& stream, const Tensor& of_rows) : logits(on_host(stream, of_rows)) {
        const std::int64_t rows = logits.shape()[0], vocabulary = logits.shape()[1];
        most_probable.resize(static_cast<std::size_t>(rows));
        parallel_for(stream.threads(), rows, [&](std::int64_t r) {
            const float* row = logits.data<float>() + r * vocabulary;
            most_probable[static_cast<std::size_t>(r)] =
                static_cast<std::int32_t>(std::max_element(row, row + vocabulary) - row);
        });
        const Tensor targets = Tensor::from<std::int32_t>(stream, {rows}, most_probable);
        const Tensor losses = Tensor::empty(stream, DType::f64, {rows}),
                     nlls = Tensor::empty(stream, DType::f64, {rows}),
                     correct = Tensor::empty(stream, DType::i64, {rows});
        kernels::CrossEntropyArgs args{.rows = rows, .vocabulary = vocabulary};
        args.logits = of_rows.data<float>();
        args.targets = targets.data<std::int32_t>();
        args.loss = losses.data<double>();
        args.nll = nlls.data<double>();
        args.correct = correct.data<std::int64_t>();
        stream.run([&](auto& s) { kernels::cross_entropy(s, args); });
        nll = on_host(stream, nlls);
        for (const double value : nll.span<double>())
            if (!std::isfinite(value)) throw DataError("beam search: no logit is finite");
    }
    SentenceBeams::Row row(std::int64_t r) const {
        return {logits.span<float>().subspan(static_cast<std::size_t>(r * logits.shape()[1]),
                                             static_cast<std::size_t>(logits.shape()[1])),
                most_probable[static_cast<std::size_t>(r)], nll.data<double>()[r]};
    }
};

/// Decodes the sentences `which` side by side.
void search(const EncoderDecoder& model, Stream& stream, const Sources& sources,
            std::span<const std::size_t> which, const BeamOptions& options, Results& results) {
    const auto sentences = static_cast<std::int64_t>(which.size()), beams = options.beams;
    std::size_t longest = 0;
    for (const std::size_t i : which) longest = std::max(longest, sources[i].size());
    std::vector<std::int32_t> ids(which.size() * longest, 0), lengths;
    std::vector<SentenceBeams> active;
    for (std::size_t n = 0; n < which.size(); ++n) {
        const auto& source = sources[which[n]];
        std::ranges::copy(source, ids.begin() + static_cast<std::ptrdiff_t>(n * longest));
        lengths.push_back(static_cast<std::int32_t>(source.size()));
        active.emplace_back(options, max_length(model.config(), source.size(), options));
    }
    std::vector<std::size_t> place(which.begin(), which.end());  // of each active sentence, in sources
    PairDecodeState state = model.start_decoding(
        stream, Tensor::from<std::int32_t>(stream, {sentences, static_cast<std::int64_t>(longest)}, ids),
        Tensor::from<std::int32_t>(stream, {sentences}, lengths), beams,
        max_length(model.config(), longest, options) + 1);

    std::vector<std::int32_t> tokens(static_cast<std::size_t>(state.rows()), options.begin), parents;
    while (!active.empty()) {
        const Tensor fed =
            Tensor::from<std::int32_t>(stream, {static_cast<std::int64_t>(tokens.size())}, tokens);
        const Predictions predictions(stream, model.decode(stream, fed, state));
        parallel_for(stream.threads(), static_cast<std::int64_t>(active.size()), [&](std::int64_t n) {
            std::vector<SentenceBeams::Row> rows;
            for (std::int64_t b = 0; b < beams; ++b) rows.push_back(predictions.row(n * beams + b));
            active[static_cast<std::size_t>(n)].extend(rows);
        });
        tokens.clear();
        parents.clear();
        std::vector<SentenceBeams> left;
        std::vector<std::size_t> left_place;
        for (std::size_t n = 0; n < active.size(); ++n) {
            if (active[n].done()) {
                results[place[n]] = active[n].best();
                continue;
            }
            for (std::int64_t b = 0; b < beams; ++b) {
                tokens.push_back(active[n].token(b));
                parents.push_back(
                    static_cast<std::int32_t>(static_cast<std::int64_t>(n) * beams + active[n].parent(b)));
            }
            left.push_back(std::move(active[n]));
            left_place.push_back(place[n]);
        }
        active = std::move(left);
        place = std::move(left_place);
        if (!active.empty()) state.select(stream, parents);
    }
}

}  // namespace

Results beam_search(const EncoderDecoder& model, Stream& stream, const Sources& sources,
                    const BeamOptions& options) {
    check(model.config(), sources, options);
    std::vector<std::size_t> by_length(sources.size());
    std::iota(by_length.begin(), by_length.end(), std::size_t{0});
    std::stable_sort(by_length.begin(), by_length.end(),
                     [&](std::size_t a, std::size_t b) { return sources[a].size() < sources[b].size(); });
    Results results(sources.size());
    for (std::size_t first = 0, last; first < by_length.size(); first = last) {
        // sentences first ... last, of which the last is the longest
        for (last = first + 1; last < by_length.size(); ++last) {
            const std::size_t source = sources[by_length[last]].size();
            const std::int64_t positions =
                static_cast<std::int64_t>(source) + max_length(model.config(), source, options) + 1;
            if (static_cast<std::int64_t>(last - first + 1) * options.beams * positions >
                options.batch_positions)
                break;
        }
        search(model, stream, sources, std::span(by_length).subspan(first, last - first), options, results);
    }
    return results;
}

}  // namespace skein
