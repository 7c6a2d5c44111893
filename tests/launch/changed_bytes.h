#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "data/hdf5_file.h"
#include "tests/support/chance.h"
#include "tests/support/program.h"

namespace skein {

/// Changes one byte of a file; the value is put back by the second of two such calls.
inline void flip_byte(const std::string& path, std::size_t offset, unsigned char mask = 16) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    const char changed = static_cast<char>(file.get() ^ mask);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(changed);
    file.close();
    ASSERT_TRUE(file) << path;
}

/// Of a small shard, one chunk of which holds all tokens: any window of it finds the change.
inline void flip_stored_token(const std::string& shard) {
    std::vector<std::uint16_t> tokens(64);
    Hdf5File::open_readonly(shard).read<std::uint16_t>("/tokens", 100, tokens);
    const std::size_t at = contents(shard).find(
        std::string(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof tokens[0]));
    ASSERT_NE(at, std::string::npos) << shard;
    flip_byte(shard, at);
}

}  // namespace skein
