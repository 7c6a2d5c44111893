#include "trainer/evaluation.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "model/base/error.h"

namespace skein {

double Evaluation::perplexity() const {
    return std::exp(loss);
}

Evaluation evaluate(const Objective& objective, Stream& stream, Communicator& data,
                    const ValidationData& samples) {
    if (samples.samples() == 0)
        throw DataError(text("evaluate: found no validation sample, wanted at least one pair, or ",
                             objective.model().config().context + 1, " tokens (--model.context and one)"));
    std::vector<double> nll(static_cast<std::size_t>(samples.samples()), 0.0);
    std::int64_t correct = 0, tokens = 0;
    // why this rank has no samples, or its device no sums: the others wait for them
    std::string unread, failed;
    for (auto pass = static_cast<std::size_t>(data.rank()); pass < samples.passes().size();
         pass += static_cast<std::size_t>(data.size())) {
        try {
            Batch batch;
            try {
                batch = samples.read(pass);
            } catch (const DataError& error) {  // those that share the model with this rank go on with it
                unread = error.what();
                batch = samples.blank(pass);
            }
            Tape tape(stream, Tape::Mode::kInference);
            const LossSums sums = objective.loss(tape, batch, batch.own, {}, {});
            if (TensorGroup* group = objective.model().sharing().group) group->take_last().wait_on_host();
            const Tensor nll_sums = start_on_host(stream, sums.nll),
                         correct_sums = on_host(stream, sums.correct);
            tokens += batch.target_tokens;
            std::ranges::copy(nll_sums.span<double>(), nll.begin() + batch.own.begin);
            for (const std::int64_t of_sample : correct_sums.span<std::int64_t>()) correct += of_sample;
        } catch (const MpiError&) {  // the others cannot be told
            throw;
        } catch (const Error& error) {
            if (objective.model().sharing().group) throw;  // nor can those that share the model
            failed = error.what();
            break;
        }
    }
    for (const std::string& why : data.all_gather_text(unread))
        if (!why.empty()) throw DataError(why);
    for (const std::string& why : data.all_gather_text(failed))
        if (!why.empty()) throw CudaError(why);
    // every sample is one rank's and 0 on the others, and x + 0 is x
    data.all_reduce(std::span<double>(nll));
    correct = data.all_reduce_value(correct);
    Evaluation result;
    result.tokens = data.all_reduce_value(tokens);
    double total = 0.0;
    for (const double sample : nll) total += sample;
    result.loss = total / static_cast<double>(result.tokens);
    result.accuracy = static_cast<double>(correct) / static_cast<double>(result.tokens);
    return result;
}

}  // namespace skein
