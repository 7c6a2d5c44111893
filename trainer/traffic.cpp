#include "trainer/traffic.h"

#include "model/kernels/elementwise.h"

namespace skein {

StepTraffic step_traffic(const TrafficOf& of) {
    const ModelConfig& config = of.model.config();
    const ParameterList& parameters = of.model.parameters();
    const std::int64_t others = of.tensor_ranks - 1;
    StepTraffic traffic;
    traffic.data = 2 * (of.data_ranks - 1) * of.gradient_elements * 4 * of.tensor_ranks;
    if (others == 0) return traffic;

    const auto element = static_cast<std::int64_t>(size_of(parameters.forward_dtype()));
    const auto all_reduce = [&](std::int64_t rows) { return 2 * others * rows * config.width * element; };
    if (config.kind == ModelKind::kEncoderDecoder)
        traffic.tensor = (4 * config.encoder_depth() + 2) * all_reduce(of.source_rows) +
                         (6 * config.decoder_depth() + 2) * all_reduce(of.rows);
    else
        traffic.tensor = (4 * config.layers + 2) * all_reduce(of.rows);
    traffic.tensor += 40 * of.tensor_ranks * others * of.rows;

    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const Parameter& parameter = parameters[i];
        for (int rank = 0; rank < of.tensor_ranks; ++rank) {
            const std::int64_t elements =
                parameter.layout.of_part(rank).local(parameter.global_shape).elements();
            traffic.tensor += 8 * others * kernels::norm_blocks(elements) * of.data_ranks;
        }
        if (parameter.leaf.partial)
            traffic.tensor += 2 * others * parameter.global_shape.elements() * 4 * of.lanes;
    }
    return traffic;
}

}  // namespace skein
