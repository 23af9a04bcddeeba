/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Data sets, trainers, quantising and merging as C++17 classes and functions, beside those of llmgpu.hpp. Experimental.
 */
#ifndef LLMGPU_TRAIN_HPP
#define LLMGPU_TRAIN_HPP

#include "llmgpu/llmgpu.hpp"

#ifdef LLMGPU_EXPERIMENTAL

namespace llmgpu {

/** llmgpu_dataset_params with their defaults. */
using dataset_params = detail::params<llmgpu_dataset_params, llmgpu_dataset_params_init>;

/** llmgpu_trainer_params with their defaults. */
using trainer_params = detail::params<llmgpu_trainer_params, llmgpu_trainer_params_init>;

/** llmgpu_quantize_params with their defaults. */
using quantize_params = detail::params<llmgpu_quantize_params, llmgpu_quantize_params_init>;

/**
 * A data set and a place in it: llmgpu_dataset. Experimental.
 *
 * @par Thread-safety: one thread at a time
 */
class dataset : public handle<llmgpu_dataset, llmgpu_dataset_free> {
public:
    /**
     * Opens files as one data set.
     *
     * @param of     whose tokenizer and template are used
     * @param paths  of the files
     * @param params how
     */
    dataset(model &of, const std::vector<std::string> &paths, const dataset_params &params = {})
    {
        std::vector<const char *> names;
        for (const std::string &path : paths)
            names.push_back(path.c_str());
        llmgpu_dataset *out;
        of.check(llmgpu_dataset_open(&out, of.get(), names.data(), names.size(), &params));
        take(out);
    }

    /**
     * Takes a part of the lines away for validation.
     *
     * @param share of the lines, above 0 and below 1
     * @return these lines
     */
    dataset split(double share)
    {
        llmgpu_dataset *out;
        check(llmgpu_dataset_split(&out, get(), share));
        return dataset(out);
    }

    /**
     * Reads the next micro-batch.
     *
     * @param batch its arrays are valid until the next call
     * @return false when the passes are over
     */
    bool next(llmgpu_batch &batch) { return check(llmgpu_dataset_next(get(), &batch, sizeof batch)) == 1; }

    /** Goes back to the beginning. */
    void rewind() { check(llmgpu_dataset_rewind(get())); }

    /** @return what has been read since it was opened */
    llmgpu_dataset_stats stats() const
    {
        llmgpu_dataset_stats stats = {};
        detail::check(llmgpu_dataset_get_stats(get(), &stats, sizeof stats));
        return stats;
    }

private:
    explicit dataset(llmgpu_dataset *taken) noexcept { take(taken); }
    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_dataset_error(get()) : nullptr); }
};

/**
 * What is learned, and all that is needed to go on: llmgpu_trainer. Experimental.
 *
 * @par Thread-safety: one thread at a time, but for cancel()
 */
class trainer : public handle<llmgpu_trainer, llmgpu_trainer_free> {
public:
    /**
     * Makes a trainer.
     *
     * @param of     what is trained, or what the adapter is for
     * @param params how
     */
    explicit trainer(model &of, const trainer_params &params = {})
    {
        llmgpu_trainer *out;
        of.check(llmgpu_trainer_create(&out, of.get(), &params));
        take(out);
    }

    /**
     * Adds a micro-batch to the next step.
     *
     * @param batch copied
     */
    void add(const llmgpu_batch &batch) { check(llmgpu_trainer_add(get(), &batch, sizeof batch)); }

    /** Does a step. @return what it did */
    llmgpu_train_result step()
    {
        llmgpu_train_result result = {};
        check(llmgpu_trainer_step(get(), &result, sizeof result));
        return result;
    }

    /**
     * Leaves a step to whoever works on the context.
     *
     * @param share percent of the time that it has where sessions want all of it
     */
    void start(std::uint32_t share = 0) { check(llmgpu_trainer_start(get(), share)); }

    /**
     * Asks for the step that was started.
     *
     * @param result what it did, when it is done
     * @return whether it is
     */
    bool poll(llmgpu_train_result &result) { return check(llmgpu_trainer_poll(get(), &result, sizeof result)) == 1; }

    /**
     * Works, or with a background thread sleeps, until the step that was started has ended.
     *
     * @param timeout microseconds
     * @return false when the time was over before
     */
    bool wait(std::chrono::microseconds timeout = std::chrono::microseconds::max())
    {
        int rc = llmgpu_trainer_wait(get(), detail::count<std::uint64_t>(timeout));
        return rc == LLMGPU_E_TIMEOUT ? false : check(rc) == 0;
    }

    /** Takes the step that was started back. */
    void stop() { check(llmgpu_trainer_stop(get())); }

    /**
     * Computes the loss of a micro-batch, and changes nothing.
     *
     * @param batch as for add()
     * @return the sum over its targets
     */
    double evaluate(const llmgpu_batch &batch)
    {
        double loss = 0;
        check(llmgpu_trainer_evaluate(get(), &batch, sizeof batch, &loss));
        return loss;
    }

    /** Has what runs, or the next thing, fail with LLMGPU_E_CANCELLED; from any thread. */
    void cancel() noexcept { llmgpu_trainer_cancel(get()); }

    /**
     * Writes what was learned.
     *
     * @param path   file, or folder for LLMGPU_SAVE_PEFT
     * @param format an llmgpu_save_format
     */
    void save(const std::string &path, llmgpu_save_format format = LLMGPU_SAVE_GGUF)
    {
        check(llmgpu_trainer_save(get(), path.c_str(), format));
    }

    /**
     * Writes all that is needed to go on.
     *
     * @param path  file
     * @param extra the caller's own bytes
     */
    void save_checkpoint(const std::string &path, const std::vector<std::uint8_t> &extra = {})
    {
        check(llmgpu_trainer_save_checkpoint(get(), path.c_str(), extra.data(), extra.size()));
    }

    /**
     * Goes to where a checkpoint was written.
     *
     * @param path file
     * @return the caller's own bytes
     */
    std::vector<std::uint8_t> load_checkpoint(const std::string &path)
    {
        auto ask = [&](std::uint8_t *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_trainer_load_checkpoint(get(), path.c_str(), room, capacity, n);
        };
        return detail::fill<std::vector<std::uint8_t>>(1024, ask, [this](int rc) { check(rc); });
    }

    /** @return facts about it */
    llmgpu_trainer_info info() const
    {
        llmgpu_trainer_info info = {};
        detail::check(llmgpu_trainer_get_info(get(), &info, sizeof info));
        return info;
    }

private:
    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_trainer_error(get()) : nullptr); }
};

/** @cond */
namespace detail {

template <typename Call> void rewrite(quantize_params params, Call call)
{
    char sentence[512] = "";
    if (!params.error) {
        params.error = sentence;
        params.error_size = sizeof sentence;
    }
    check(call(params), params.error);
}

} // namespace detail
/** @endcond */

/**
 * Writes a model's file with weights of another type: llmgpu_quantize(). Experimental.
 *
 * @param from   a GGUF file
 * @param to     the file to write
 * @param type   such as "Q4_K_M"
 * @param params its `error` need not be set: the sentence is in the exception
 */
inline void quantize(const std::string &from, const std::string &to, const std::string &type, const quantize_params &params = {})
{
    detail::rewrite(params, [&](const quantize_params &p) { return llmgpu_quantize(from.c_str(), to.c_str(), type.c_str(), &p); });
}

/**
 * Writes a model's file with adapters merged into its matrices: llmgpu_merge(). Experimental.
 *
 * @param base     a GGUF file
 * @param adapters of this base
 * @param to       the file to write
 * @param type     of all matrices; "": each keeps the type that it has
 * @param params   as for quantize()
 */
inline void merge(const std::string &base, const std::vector<llmgpu_merge_adapter> &adapters, const std::string &to,
                  const std::string &type = "", const quantize_params &params = {})
{
    detail::rewrite(params, [&](const quantize_params &p) {
        return llmgpu_merge(base.c_str(), adapters.data(), adapters.size(), to.c_str(), type.empty() ? nullptr : type.c_str(), &p);
    });
}

} // namespace llmgpu

#endif

#endif
