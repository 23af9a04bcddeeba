/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Version of the library and of its ABI, and the export macro.
 */
#ifndef LLMGPU_VERSION_H
#define LLMGPU_VERSION_H

#define LLMGPU_VERSION_MAJOR 0 /**< of these headers; llmgpu_version() is that of the library */
#define LLMGPU_VERSION_MINOR 1 /**< as above */
#define LLMGPU_VERSION_PATCH 0 /**< as above */

/** The ABI's number, which is the soname's; it moves only when binary compatibility breaks. */
#define LLMGPU_ABI_VERSION 0

/** Stands before what the shared library exports. */
#if defined(__GNUC__) || defined(__clang__)
#define LLMGPU_API __attribute__((visibility("default")))
#else
#define LLMGPU_API
#endif

/**
 * Marks what may still change, or go, without a new soname. It is declared only where LLMGPU_EXPERIMENTAL is defined
 * before the headers are included, and exported under a symbol version of its own.
 */
#ifdef LLMGPU_EXPERIMENTAL
#define LLMGPU_EXPERIMENTAL_API LLMGPU_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The version of the library that is linked, such as "0.1.0".
 *
 * @return a static string
 * @par Thread-safety: safe
 */
LLMGPU_API const char *llmgpu_version(void);

#ifdef __cplusplus
}
#endif

#endif
