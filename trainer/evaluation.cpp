#include "trainer/evaluation.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "data/sampler.h"
#include "model/base/error.h"

namespace skein {
namespace {

// Tokens that one pass evaluates, at most: passes are cut from the first window on, whatever the number of ranks.
constexpr std::int64_t kTokensOfAPass = 4096;

}  // namespace

double Evaluation::perplexity() const { return std::exp(loss); }

Evaluation evaluate(const Transformer& model, Stream& stream, Communicator& data, const TokenStream& tokens,
                    std::int64_t windows) {
    const std::int64_t context = model.config().context;
    const auto available =
        static_cast<std::int64_t>(validation_windows(tokens.tokens(), static_cast<std::uint64_t>(context)));
    if (available == 0)
        throw DataError(text("evaluate: ", tokens.tokens(), " validation tokens, wanted at least ", context + 1,
                             " (--model.context and one)"));
    const std::int64_t count = windows > 0 ? std::min(windows, available) : available;
    const std::int64_t of_a_pass = std::max<std::int64_t>(1, kTokensOfAPass / context);

    std::vector<double> nll(static_cast<std::size_t>(count), 0.0);
    std::int64_t correct = 0;
    std::string unread;  // why this rank has no windows: the others wait for its sums
    for (std::int64_t pass = data.rank(); pass * of_a_pass < count; pass += data.size()) {
        const std::int64_t first = pass * of_a_pass, samples = std::min(of_a_pass, count - first);
        TokenBatch batch;
        try {
            batch = read_validation(tokens, static_cast<std::uint64_t>(context), static_cast<std::uint64_t>(first),
                                    static_cast<std::uint64_t>(samples));
        } catch (const Error& error) {
            unread = error.what();
            break;
        }
        const TokenPass inputs{Tensor::from<std::int32_t>(stream, {samples, context}, batch.inputs),
                               Tensor::from<std::int32_t>(stream, {samples, context}, batch.targets)};
        Tape tape(stream, Tape::Mode::kInference);
        const LossSums sums = model.loss(tape, inputs, {}, {});
        for (std::int64_t i = 0; i < samples; ++i) {
            nll[static_cast<std::size_t>(first + i)] = sums.nll.data<double>()[i];
            correct += sums.correct.data<std::int64_t>()[i];
        }
    }
    for (const std::string& why : data.all_gather_text(unread))
        if (!why.empty()) throw DataError(why);
    // every window is one rank's and 0 on the others, and x + 0 is x
    data.all_reduce(std::span<double>(nll));
    correct = data.all_reduce_value(correct);
    Evaluation result;
    double total = 0.0;
    for (const double window : nll) total += window;
    result.tokens = count * context;
    result.loss = total / static_cast<double>(result.tokens);
    result.accuracy = static_cast<double>(correct) / static_cast<double>(result.tokens);
    return result;
}

}  // namespace skein
