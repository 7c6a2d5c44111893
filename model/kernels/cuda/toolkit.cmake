# Looks for CUDA's toolkit as WITH_CUDA says, and sets SKEIN_CUDA: whether this build has the CUDA backend. Included by the
# root, since a language is enabled for the folder that does it.
set(SKEIN_LEAST_CUDA 12.0)  # the first whose nvcc takes C++20
set(SKEIN_CUDA OFF)
set(CUDA_MISSING "")
if(NOT CMAKE_CUDA_ARCHITECTURES)
  # Not native: CMake 3.25 refuses it on a machine without a GPU.
  set(CMAKE_CUDA_ARCHITECTURES 80 90 CACHE STRING "GPU architectures: 80 is A100's, 90 is H100's and H200's" FORCE)
endif()
if(NOT CMAKE_CUDA_HOST_COMPILER)
  set(CMAKE_CUDA_HOST_COMPILER ${CMAKE_CXX_COMPILER})
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(CUDA_MISSING "there is no nvcc that works with ${CMAKE_CXX_COMPILER}")
else()
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # which CMake 3.25 does not know
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS SKEIN_LEAST_CUDA)
    set(CUDA_MISSING "${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
endif()

if(NOT CUDA_MISSING)
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    set(CUDA_MISSING "the toolkit of ${CMAKE_CUDA_COMPILER} is incomplete")
  endif()
endif()

if(NOT CUDA_MISSING)
  set(SKEIN_CUDA ON)
  message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}: kernels for architectures ${CMAKE_CUDA_ARCHITECTURES}")
elseif(WITH_CUDA STREQUAL "AUTO")
  message(STATUS "CUDA: ${CUDA_MISSING}, wanted CUDA ${SKEIN_LEAST_CUDA} or later; building for the CPU alone")
else()
  message(FATAL_ERROR "WITH_CUDA=${WITH_CUDA}: ${CUDA_MISSING}; wanted CUDA ${SKEIN_LEAST_CUDA} or later, or WITH_CUDA=OFF")
endif()
