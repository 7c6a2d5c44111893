#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trainer/settings.h"

namespace skein {

/// Published settings under one name. They come before the configuration file and the command line.
struct Preset {
    std::string name;
    std::string help;  ///< one line, with the source
    Settings settings;
};

const std::vector<Preset>& presets();

/// Throws ConfigError with the names of all presets for an unknown one.
const Preset& preset_named(std::string_view name);

}  // namespace skein
