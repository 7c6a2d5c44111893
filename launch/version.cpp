#include "launch/version.h"

#include <cblas.h>
#include <hdf5.h>
#include <mpi.h>
#include <xxhash.h>
#include <zlib.h>

#include <boost/version.hpp>
#include <nlohmann/json.hpp>

#include "model/base/error.h"
#include "model/tensor/device.h"
#include "parallel/nccl_communicator.h"

namespace skein {

namespace {

std::string mpi_version() {
    std::string version(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
    int length = 0;
    if (MPI_Get_library_version(version.data(), &length) != MPI_SUCCESS) return "unknown";
    version.resize(static_cast<std::size_t>(length));
    return version.substr(0, version.find('\0'));
}

std::string hdf5_version() {
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
    return text(major, ".", minor, ".", release);
}

std::string xxhash_version() {
    const unsigned version = XXH_versionNumber();  // major · 10000 + minor · 100 + release
    return text(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

std::string cuda_version() {
    const GpuReport gpus = find_gpus();
    if (!gpus.built) return "not in this build";
    return text(gpus.runtime, gpus.count > 0 ? text(", ", gpus.count, " GPUs") : text("; ", gpus.missing));
}

std::string nccl_version() {
    const NcclReport nccl = find_nccl();
    return nccl.version.empty() ? nccl.missing : nccl.version;
}

}  // namespace

std::string version_text() {
    return text("skein          ", SKEIN_VERSION, "\n",          //
                "compiler       ", __VERSION__, "\n",            //
                "MPI            ", mpi_version(), "\n",          //
                "HDF5           ", hdf5_version(), "\n",         //
                "OpenBLAS       ", openblas_get_config(), "\n",  //
                "Boost          ", BOOST_VERSION / 100000, ".", BOOST_VERSION / 100 % 1000, ".",
                BOOST_VERSION % 100, "\n",                             //
                "SentencePiece  ", SKEIN_SENTENCEPIECE_VERSION, "\n",  //
                "xxHash         ", xxhash_version(), "\n",             //
                "zlib           ", zlibVersion(), "\n",                //
                "nlohmann-json  ", NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR, ".",
                NLOHMANN_JSON_VERSION_PATCH, "\n",        //
                "CUDA           ", cuda_version(), "\n",  //
                "NCCL           ", nccl_version(), "\n");
}

}  // namespace skein
