/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The C API as C++17 classes: handles that free themselves, failures as exceptions, texts and tokens as containers, and
 * answers as ranges. Header only; what is said in the C headers of ownership, threads, units and errors holds here too.
 *
 *     llmgpu::context ctx;
 *     llmgpu::model model(ctx, "model.gguf");
 *     llmgpu::session session(model);
 *     session.feed_text("Once upon a time", LLMGPU_TOKENIZE_ADD_SPECIAL);
 *     for (std::string_view piece : session.pieces(256))
 *         std::cout << piece << std::flush;
 *
 * Objects own one handle each and can be moved but not copied. Every function but destructors and those marked noexcept
 * throws llmgpu::error when the C function that it calls fails; an object that was moved from answers LLMGPU_E_INVALID.
 * get() gives the handle for what is not wrapped.
 */
#ifndef LLMGPU_HPP
#define LLMGPU_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "llmgpu/llmgpu.h"

namespace llmgpu {

/** A failed call: its code, and the sentence that says what and where as what(). */
class error : public std::runtime_error {
public:
    /**
     * @param code     an llmgpu_status
     * @param sentence may be NULL or "": the name of the code then
     */
    error(int code, const char *sentence)
        : std::runtime_error(sentence && *sentence ? sentence : llmgpu_status_name(code)), code_(code)
    {
    }

    /** @return the llmgpu_status */
    int code() const noexcept { return code_; }

private:
    int code_;
};

/** @cond */
namespace detail {

inline int check(int rc, const char *sentence = nullptr)
{
    if (rc < 0)
        throw error(rc, sentence);
    return rc;
}

/** A duration as C takes it: never negative, and the largest number for all that is longer. */
template <typename T, typename Duration> T count(Duration time)
{
    const auto zero = Duration::zero().count();
    const auto n = static_cast<std::make_unsigned_t<typename Duration::rep>>(std::max(time.count(), zero));
    return time == Duration::max() || n > static_cast<T>(-1) ? static_cast<T>(-1) : static_cast<T>(n);
}

/** Asks with room for a guess, then, where that was too small, with the room that is needed. */
template <typename Container, typename Ask, typename Check>
Container fill(std::size_t guess, Ask ask, Check check)
{
    Container out(guess, typename Container::value_type());
    std::size_t n = 0;
    int rc = ask(out.data(), out.size(), &n);
    if (rc == LLMGPU_E_RANGE) {
        out.resize(n);
        rc = ask(out.data(), out.size(), &n);
    }
    check(rc);
    out.resize(n);
    return out;
}

template <typename T, int (*Init)(T *, std::size_t)> struct params : T {
    params() { check(Init(this, sizeof(T))); }
};

inline int next(llmgpu_session *session, std::int32_t &token)
{
    return llmgpu_session_next(session, &token);
}

inline int next(llmgpu_session *session, std::string_view &piece)
{
    const char *text = "";
    std::size_t len = 0;
    int rc = llmgpu_session_next_text(session, &text, &len);
    piece = std::string_view(text, rc == LLMGPU_TOKEN ? len : 0);
    return rc;
}

} // namespace detail
/** @endcond */

/** What frees one handle of the C API: it can be moved, not copied. */
template <typename T, void (*Free)(T *)> class handle {
public:
    /** @return the handle, still owned by this; NULL when it was moved from */
    T *get() const noexcept { return handle_.get(); }

protected:
    /** @cond */
    void take(T *handle) noexcept { handle_.reset(handle); }
    /** @endcond */

private:
    struct freer {
        void operator()(T *handle) const noexcept { Free(handle); }
    };
    std::unique_ptr<T, freer> handle_;
};

/** llmgpu_context_params with their defaults. */
using context_params = detail::params<llmgpu_context_params, llmgpu_context_params_init>;

/** llmgpu_model_params with their defaults. */
using model_params = detail::params<llmgpu_model_params, llmgpu_model_params_init>;

/** llmgpu_session_params with their defaults. */
using session_params = detail::params<llmgpu_session_params, llmgpu_session_params_init>;

/** llmgpu_sampler_params with their defaults: greedy. */
using sampler_params = detail::params<llmgpu_sampler_params, llmgpu_sampler_params_init>;

/** Token ids. */
using tokens = std::vector<std::int32_t>;

/** @return the devices of this machine, the CPU first */
inline std::vector<llmgpu_device_info> devices()
{
    llmgpu_device_list *list;
    detail::check(llmgpu_device_list_create(&list));
    std::unique_ptr<llmgpu_device_list, void (*)(llmgpu_device_list *)> owner(list, llmgpu_device_list_free);
    std::vector<llmgpu_device_info> all(llmgpu_device_list_count(list));
    for (std::uint32_t i = 0; i < all.size(); i++)
        detail::check(llmgpu_device_list_get(list, i, &all[i], sizeof all[i]));
    return all;
}

/**
 * A device and what belongs to it: llmgpu_context.
 *
 * @par Thread-safety: safe
 */
class context : public handle<llmgpu_context, llmgpu_context_free> {
public:
    /**
     * Opens a device.
     *
     * @param params its `error` need not be set: the sentence is in the exception
     */
    explicit context(context_params params = {})
    {
        char sentence[512] = "";
        if (!params.error) {
            params.error = sentence;
            params.error_size = sizeof sentence;
        }
        llmgpu_context *ctx;
        detail::check(llmgpu_context_create(&ctx, &params), params.error);
        take(ctx);
    }

    /**
     * Works on the sessions for a limited time: llmgpu_context_step().
     *
     * @param budget microseconds
     * @return the time used; 0 when there was nothing to do
     */
    std::chrono::microseconds step(std::chrono::microseconds budget)
    {
        return std::chrono::microseconds(check(llmgpu_context_step(get(), detail::count<std::uint32_t>(budget))));
    }

    /** Starts the background thread. */
    void start() { check(llmgpu_context_start(get())); }

    /** Stops the background thread and waits for it. */
    void stop() { check(llmgpu_context_stop(get())); }

    /** Cancels what runs on the context now, from any thread. */
    void cancel() noexcept { llmgpu_context_cancel(get()); }

    /**
     * Opens a lost device anew.
     *
     * @param vulkan the host's new device where the context runs on one of the host's
     */
    void recover(const llmgpu_vulkan_device *vulkan = nullptr)
    {
        check(llmgpu_context_recover(get(), vulkan));
    }

    /** @return the device that this runs on */
    llmgpu_device_info device() const
    {
        llmgpu_device_info info = {};
        detail::check(llmgpu_context_get_device(get(), &info, sizeof info));
        return info;
    }

    /** @return the counters */
    llmgpu_context_stats stats() const
    {
        llmgpu_context_stats stats = {};
        detail::check(llmgpu_context_get_stats(get(), &stats, sizeof stats));
        return stats;
    }

    /** @return bytes per second that the device reads of its memory, measured for about 0.3 s */
    double measure_bandwidth()
    {
        double bytes_per_second = 0;
        check(llmgpu_context_measure_bandwidth(get(), &bytes_per_second));
        return bytes_per_second;
    }

private:
    friend class model;
    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_context_error(get()) : nullptr); }
};

/**
 * Weights and tokenizer, shared by sessions: llmgpu_model.
 *
 * @par Thread-safety: immutable; any thread may use it
 */
class model : public handle<llmgpu_model, llmgpu_model_free> {
public:
    /**
     * Loads a GGUF file.
     *
     * @param ctx    where the weights go
     * @param path   file name
     * @param params how
     */
    model(context &ctx, const std::string &path, const model_params &params = {})
    {
        llmgpu_model *out;
        ctx.check(llmgpu_model_load(&out, ctx.get(), path.c_str(), &params));
        take(out);
    }

    /**
     * The same of a file in memory.
     *
     * @param ctx    where the weights go
     * @param data   the file; on devices that read host memory in place it must stay as it is while the model lives
     * @param size   bytes
     * @param params how
     */
    model(context &ctx, const void *data, std::size_t size, const model_params &params = {})
    {
        llmgpu_model *out;
        ctx.check(llmgpu_model_load_memory(&out, ctx.get(), data, size, &params));
        take(out);
    }

    /**
     * The same of a file behind callbacks.
     *
     * @param ctx    where the weights go
     * @param io     copied; its callbacks must not throw
     * @param params how
     */
    model(context &ctx, const llmgpu_io &io, const model_params &params = {})
    {
        llmgpu_model *out;
        ctx.check(llmgpu_model_load_io(&out, ctx.get(), &io, &params));
        take(out);
    }

    /**
     * Says how much memory a model would take, without loading it.
     *
     * @param ctx        the device it is for
     * @param path       file name
     * @param n_sessions how many sessions; 0: the weights alone
     * @param session    their parameters
     * @param params     how it would be loaded
     * @return bytes, by what they are for
     */
    static llmgpu_estimate estimate(context &ctx, const std::string &path, std::uint32_t n_sessions = 1,
                                    const session_params &session = {}, const model_params &params = {})
    {
        llmgpu_estimate out = {};
        ctx.check(llmgpu_model_estimate(&out, sizeof out, ctx.get(), path.c_str(), &params, &session, n_sessions));
        return out;
    }

    /** @return facts about the model */
    llmgpu_model_info info() const
    {
        llmgpu_model_info info = {};
        detail::check(llmgpu_model_get_info(get(), &info, sizeof info));
        return info;
    }

    /**
     * Text to token ids.
     *
     * @param text  UTF-8
     * @param flags llmgpu_tokenize_flags
     * @return the ids
     */
    tokens tokenize(std::string_view text, std::uint32_t flags = 0) const
    {
        auto ask = [&](std::int32_t *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_tokenize(get(), text.data(), text.size(), flags, room, capacity, n);
        };
        return detail::fill<tokens>(text.size() / 2 + 8, ask, [](int rc) { detail::check(rc); });
    }

    /**
     * Token ids to text.
     *
     * @param ids   token ids
     * @param flags llmgpu_tokenize_flags
     * @return UTF-8
     */
    std::string detokenize(const tokens &ids, std::uint32_t flags = 0) const
    {
        auto ask = [&](char *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_detokenize(get(), ids.data(), ids.size(), flags, room, capacity, n);
        };
        return detail::fill<std::string>(ids.size() * 8, ask, [](int rc) { detail::check(rc); });
    }

    /**
     * Whether generation ends at a token.
     *
     * @param token any id
     * @return whether it does
     */
    bool is_end(std::int32_t token) const noexcept { return llmgpu_model_is_end(get(), token) > 0; }

private:
    friend class session;
    friend class chat;
    friend class lora;
    friend class dataset;
    friend class trainer;

    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_model_error(get()) : nullptr); }
};

/**
 * The rest of an answer, token by token or piece by piece, for a range-based `for`. Taking the next one works, or with a
 * background thread sleeps, until it is there, and throws what llmgpu_session_next() fails with. It refers to its session,
 * which must live longer; a range is walked once.
 *
 * @tparam T std::int32_t for tokens, std::string_view for text that is valid until the next is taken
 */
template <typename T> class answer {
public:
    /** What walks the answer: an input iterator. */
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag; /**< as the standard asks */
        using value_type = T;                              /**< as the standard asks */
        using difference_type = std::ptrdiff_t;            /**< as the standard asks */
        using pointer = const T *;                         /**< as the standard asks */
        using reference = const T &;                       /**< as the standard asks */

        /** The end of any answer. */
        iterator() noexcept = default;

        /** @return what was taken last */
        reference operator*() const noexcept { return of_->item_; }

        /** @return what was taken last */
        pointer operator->() const noexcept { return &of_->item_; }

        /** Takes the next. @return this */
        iterator &operator++()
        {
            if (!of_->take())
                of_ = nullptr;
            return *this;
        }

        /** Takes the next; what was taken last is gone. */
        void operator++(int) { ++*this; }

        /**
         * Compares.
         *
         * @param a one
         * @param b other
         * @return whether both are at the end
         */
        friend bool operator==(const iterator &a, const iterator &b) noexcept { return a.of_ == b.of_; }

        /**
         * Compares.
         *
         * @param a one
         * @param b other
         * @return whether one is not at the end
         */
        friend bool operator!=(const iterator &a, const iterator &b) noexcept { return a.of_ != b.of_; }

    private:
        friend class answer;
        answer *of_ = nullptr;

        explicit iterator(answer *of) : of_(of) { ++*this; }
    };

    /** Takes the first. @return where it is, or the end */
    iterator begin() { return iterator(this); }

    /** @return the end */
    iterator end() noexcept { return iterator(); }

private:
    friend class session;
    llmgpu_session *session_;
    T item_ = {};

    explicit answer(llmgpu_session *session) noexcept : session_(session) {}

    bool take()
    {
        int rc;
        while ((rc = detail::next(session_, item_)) == LLMGPU_AGAIN) {
            int waited = llmgpu_session_wait(session_, UINT64_MAX);
            if (waited < 0)
                throw error(waited, llmgpu_session_error(session_));
        }
        return detail::check(rc, rc < 0 ? llmgpu_session_error(session_) : nullptr) == LLMGPU_TOKEN;
    }
};

#ifdef LLMGPU_EXPERIMENTAL
/**
 * An adapter: llmgpu_lora. Experimental.
 *
 * @par Thread-safety: immutable; any thread may use it
 */
class lora : public handle<llmgpu_lora, llmgpu_lora_free> {
public:
    /**
     * Loads an adapter.
     *
     * @param base the model it was trained on
     * @param path file name
     */
    lora(model &base, const std::string &path)
    {
        llmgpu_lora *out;
        base.check(llmgpu_lora_load(&out, base.get(), path.c_str()));
        take(out);
    }

    /** @return facts about the adapter */
    llmgpu_lora_info info() const
    {
        llmgpu_lora_info info = {};
        detail::check(llmgpu_lora_get_info(get(), &info, sizeof info));
        return info;
    }
};
#endif

/** A token and the most probable ones in its place. */
struct candidates {
    llmgpu_candidate chosen;           /**< the token that was given */
    std::vector<llmgpu_candidate> top; /**< descending */
};

/**
 * One conversation: llmgpu_session.
 *
 * @par Thread-safety: one thread at a time, but for cancel()
 */
class session : public handle<llmgpu_session, llmgpu_session_free> {
public:
    /**
     * Begins a conversation.
     *
     * @param of     what it talks to
     * @param params how
     */
    explicit session(model &of, const session_params &params = {})
    {
        llmgpu_session *out;
        of.check(llmgpu_session_create(&out, of.get(), &params));
        take(out);
        n_embd_ = of.info().n_embd;
    }

    /** @return another session with the same tokens, whose pages are shared until one of the two writes */
    session fork()
    {
        llmgpu_session *out;
        check(llmgpu_session_fork(&out, get()));
        return session(out, n_embd_);
    }

    /**
     * Changes how tokens are chosen, from the next one on.
     *
     * @param sampler how
     */
    void set_sampler(const sampler_params &sampler) { check(llmgpu_session_set_sampler(get(), &sampler)); }

    /**
     * Makes tokens more or less probable, in place of the biases that were set before.
     *
     * @param biases each token once
     */
    void set_logit_bias(const std::vector<llmgpu_logit_bias> &biases)
    {
        check(llmgpu_session_set_logit_bias(get(), biases.data(), biases.size()));
    }

#ifdef LLMGPU_EXPERIMENTAL
    /**
     * Has a function asked before each token which ones may be drawn.
     *
     * @param mask called on the thread that does the work; must not throw or call the library; NULL: none
     * @param user passed to it
     */
    void set_mask(llmgpu_mask_fn mask, void *user) { check(llmgpu_session_set_mask(get(), mask, user)); }

    /**
     * Gives the session an adapter, in place of the one it had.
     *
     * @param adapter NULL: none
     * @param scale   factor on what was trained
     */
    void set_lora(const lora *adapter, float scale = 1)
    {
        check(llmgpu_session_set_lora(get(), adapter ? adapter->get() : nullptr, scale));
    }
#endif

    /**
     * Adds tokens to the conversation.
     *
     * @param ids token ids
     */
    void feed(const tokens &ids) { check(llmgpu_session_feed(get(), ids.data(), ids.size())); }

    /**
     * Adds a text to the conversation.
     *
     * @param text  UTF-8
     * @param flags llmgpu_tokenize_flags
     */
    void feed_text(std::string_view text, std::uint32_t flags = 0)
    {
        check(llmgpu_session_feed_text(get(), text.data(), text.size(), flags));
    }

    /** Computes what was fed, without generating. */
    void prefill() { check(llmgpu_session_prefill(get())); }

    /** Makes everything ready that a first step would otherwise have to do. */
    void warm_up() { check(llmgpu_session_warm_up(get())); }

    /**
     * The next token, without working or waiting.
     *
     * @param token the id, when the answer is LLMGPU_TOKEN
     * @return LLMGPU_TOKEN, LLMGPU_DONE or LLMGPU_AGAIN
     */
    llmgpu_next next(std::int32_t &token)
    {
        return static_cast<llmgpu_next>(check(detail::next(get(), token)));
    }

    /**
     * The next piece of text, without working or waiting.
     *
     * @param piece valid until the next call on the session
     * @return LLMGPU_TOKEN, LLMGPU_DONE or LLMGPU_AGAIN
     */
    llmgpu_next next(std::string_view &piece)
    {
        return static_cast<llmgpu_next>(check(detail::next(get(), piece)));
    }

    /**
     * Works, or with a background thread sleeps, until next() will not answer LLMGPU_AGAIN.
     *
     * @param timeout microseconds
     * @return false when the time was over before
     */
    bool wait(std::chrono::microseconds timeout = std::chrono::microseconds::max())
    {
        int rc = llmgpu_session_wait(get(), detail::count<std::uint64_t>(timeout));
        return rc == LLMGPU_E_TIMEOUT ? false : check(rc) == 0;
    }

    /**
     * The answer as a range of pieces of text, whole characters each:
     * `for (std::string_view piece : session.pieces(64)) ...`
     *
     * @param max_tokens at most so many; UINT32_MAX: as many as fit
     * @return the range, to be walked once
     */
    answer<std::string_view> pieces(std::uint32_t max_tokens = UINT32_MAX)
    {
        check(llmgpu_session_set_remaining(get(), max_tokens));
        return answer<std::string_view>(get());
    }

    /**
     * The answer as a range of tokens.
     *
     * @param max_tokens at most so many; UINT32_MAX: as many as fit
     * @return the range, to be walked once
     */
    answer<std::int32_t> ids(std::uint32_t max_tokens = UINT32_MAX)
    {
        check(llmgpu_session_set_remaining(get(), max_tokens));
        return answer<std::int32_t>(get());
    }

    /**
     * Generates until the answer is over.
     *
     * @param max_tokens at most so many; UINT32_MAX: as many as fit
     * @param on_text    called with each piece as a std::string_view; when it returns a bool, false ends the answer. What it
     *                   throws ends the answer and is thrown on.
     * @return false when on_text ended the answer
     */
    template <typename F> bool generate(std::uint32_t max_tokens, F &&on_text)
    {
        struct call {
            std::remove_reference_t<F> &on_text;
            std::exception_ptr thrown;
            bool stopped;
        } state = {on_text, nullptr, false};
        int rc = llmgpu_session_generate(
            get(), max_tokens,
            [](void *user, const char *text, std::size_t len) {
                auto &call = *static_cast<struct call *>(user);
                try {
                    if constexpr (std::is_same_v<decltype(call.on_text(std::string_view())), bool>)
                        call.stopped = !call.on_text(std::string_view(text, len));
                    else
                        call.on_text(std::string_view(text, len));
                } catch (...) {
                    call.thrown = std::current_exception();
                    call.stopped = true;
                }
                return call.stopped ? 1 : 0;
            },
            &state);
        if (state.thrown)
            std::rethrow_exception(state.thrown);
        if (!state.stopped)
            check(rc);
        return !state.stopped;
    }

    /**
     * Generates until the answer is over.
     *
     * @param max_tokens at most so many; UINT32_MAX: as many as fit
     * @return the answer's text
     */
    std::string generate(std::uint32_t max_tokens = UINT32_MAX)
    {
        std::string text;
        generate(max_tokens, [&](std::string_view piece) { text += piece; });
        return text;
    }

    /**
     * Ends answers at a text, which is cut off.
     *
     * @param text 1 .. 256 bytes
     */
    void add_stop(std::string_view text) { check(llmgpu_session_add_stop(get(), text.data(), text.size())); }

    /**
     * Ends answers at a token.
     *
     * @param token an id of the vocabulary
     */
    void add_stop(std::int32_t token) { check(llmgpu_session_add_stop_token(get(), token)); }

    /** Removes all stops. */
    void clear_stops() { check(llmgpu_session_clear_stops(get())); }

    /** Makes the running call, or the next one, fail with LLMGPU_E_CANCELLED; from any thread. */
    void cancel() noexcept { llmgpu_session_cancel(get()); }

    /**
     * Sets a time after which the session does no more work.
     *
     * @param from_now milliseconds; 0: none
     */
    void set_deadline(std::chrono::milliseconds from_now)
    {
        check(llmgpu_session_set_deadline(get(), detail::count<std::uint32_t>(from_now)));
    }

    /** @return a file descriptor that is readable while next() would not answer LLMGPU_AGAIN; the session's own */
    int fd() { return check(llmgpu_session_fd(get())); }

    /**
     * Has a function called when next() begins to have something.
     *
     * @param notify called on the thread that does the work; must not throw or call the library; NULL: none
     * @param user   passed to it
     */
    void set_notify(void (*notify)(void *user), void *user)
    {
        check(llmgpu_session_set_notify(get(), notify, user));
    }

    /** Forgets the conversation. */
    void reset() { check(llmgpu_session_reset(get())); }

    /**
     * Goes back to an earlier point.
     *
     * @param n tokens that stay
     */
    void rewind(std::uint32_t n) { check(llmgpu_session_rewind(get(), n)); }

    /** @return the tokens of the conversation, fed and taken */
    tokens history() const
    {
        auto ask = [&](std::int32_t *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_session_get_tokens(get(), room, capacity, n);
        };
        return detail::fill<tokens>(stats().n_tokens, ask, [](int rc) { detail::check(rc); });
    }

    /**
     * Saves the session.
     *
     * @param kind how much of it
     * @param base a session that begins with the same tokens, which are then left out; NULL: everything is saved
     * @return the state
     */
    std::vector<std::uint8_t> save(llmgpu_state_kind kind = LLMGPU_STATE_COMPACT, const session *base = nullptr)
    {
        auto ask = [&](std::uint8_t *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_session_save(get(), kind, base ? base->get() : nullptr, room, capacity, n);
        };
        return detail::fill<std::vector<std::uint8_t>>(0, ask, [&](int rc) { check(rc); });
    }

    /**
     * Saves the session into a file.
     *
     * @param path file name
     * @param kind how much of it
     * @param base as above
     */
    void save_file(const std::string &path, llmgpu_state_kind kind = LLMGPU_STATE_COMPACT, const session *base = nullptr)
    {
        check(llmgpu_session_save_file(get(), kind, base ? base->get() : nullptr, path.c_str()));
    }

    /**
     * Puts a saved state in the place of the session's own. When it fails, the session is as before.
     *
     * @param state what save() gave; it may come from anywhere
     */
    void restore(const std::vector<std::uint8_t> &state)
    {
        check(llmgpu_session_restore(get(), state.data(), state.size()));
    }

    /**
     * The same from a file.
     *
     * @param path file name
     */
    void restore_file(const std::string &path) { check(llmgpu_session_restore_file(get(), path.c_str())); }

    /** @return the probabilities behind the token that was given last; needs session_params::n_candidates */
    candidates get_candidates() const
    {
        candidates out;
        std::size_t n = 0;
        out.top.resize(32);
        detail::check(llmgpu_session_get_candidates(get(), &out.chosen, out.top.data(), out.top.size(), &n));
        out.top.resize(n);
        return out;
    }

    /**
     * Scores a text; forgets the conversation.
     *
     * @param ids its tokens
     * @return log-probabilities: [i] is that of token i + 1 after those before it
     */
    std::vector<float> score(const tokens &ids)
    {
        std::vector<float> log_probs(ids.empty() ? 0 : ids.size() - 1);
        check(llmgpu_session_score(get(), ids.data(), ids.size(), log_probs.data(), nullptr));
        return log_probs;
    }

    /**
     * The vector of a text; forgets the conversation.
     *
     * @param ids       its tokens
     * @param pooling   how the tokens' vectors become one
     * @param normalize whether it is scaled to length 1
     * @return n_embd numbers, or [n, n_embd] for LLMGPU_POOLING_NONE
     */
    std::vector<float> embed(const tokens &ids, llmgpu_pooling pooling = LLMGPU_POOLING_MEAN, bool normalize = true)
    {
        std::vector<float> out(n_embd_ * (pooling == LLMGPU_POOLING_NONE ? ids.size() : 1));
        check(llmgpu_session_embed(get(), ids.data(), ids.size(), pooling, normalize, out.data()));
        return out;
    }

    /** @return the counters */
    llmgpu_session_stats stats() const
    {
        llmgpu_session_stats stats = {};
        detail::check(llmgpu_session_get_stats(get(), &stats, sizeof stats));
        return stats;
    }
private:
    std::size_t n_embd_ = 0;

    session(llmgpu_session *handle, std::size_t n_embd) noexcept : n_embd_(n_embd) { take(handle); }

    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_session_error(get()) : nullptr); }
};

/**
 * Messages that become a prompt through the model's own template: llmgpu_chat.
 *
 * @par Thread-safety: one thread at a time
 */
class chat : public handle<llmgpu_chat, llmgpu_chat_free> {
public:
    /**
     * Begins an empty list.
     *
     * @param of            whose template is used
     * @param template_text one in its place; "": the model's
     */
    explicit chat(model &of, std::string_view template_text = {})
    {
        llmgpu_chat *out;
        of.check(llmgpu_chat_create(&out, of.get(), template_text.empty() ? nullptr : template_text.data(),
                                    template_text.size()));
        take(out);
    }

    /**
     * Appends a message.
     *
     * @param role    "system", "user", "assistant", "tool", ...
     * @param content UTF-8
     */
    void add(const std::string &role, const std::string &content)
    {
        check(llmgpu_chat_add(get(), role.c_str(), content.c_str()));
    }

    /**
     * Appends a message with more than two members.
     *
     * @param message a JSON object
     */
    void add_json(const std::string &message) { check(llmgpu_chat_add_json(get(), message.c_str())); }

    /**
     * Removes the last messages.
     *
     * @param n how many of the first stay
     */
    void truncate(std::uint32_t n) { check(llmgpu_chat_truncate(get(), n)); }

    /** @return how many messages there are */
    std::uint32_t count() const noexcept { return llmgpu_chat_count(get()); }

    /**
     * Says which tools the model may call.
     *
     * @param tools a JSON array; "": none
     */
    void set_tools(const std::string &tools)
    {
        check(llmgpu_chat_set_tools(get(), tools.empty() ? nullptr : tools.c_str()));
    }

    /**
     * Sets another variable of the template.
     *
     * @param name  of the variable
     * @param value JSON; "": the variable is removed
     */
    void set_variable(const std::string &name, const std::string &value)
    {
        check(llmgpu_chat_set_variable(get(), name.c_str(), value.empty() ? nullptr : value.c_str()));
    }

    /**
     * The prompt of the messages so far.
     *
     * @param flags llmgpu_chat_flags
     * @return the prompt
     */
    std::string render(std::uint32_t flags = LLMGPU_CHAT_ANSWER)
    {
        auto ask = [&](char *room, std::size_t capacity, std::size_t *n) {
            return llmgpu_chat_render(get(), flags, room, capacity, n);
        };
        return detail::fill<std::string>(1024, ask, [&](int rc) { check(rc); });
    }

    /**
     * Brings a session to the prompt of the messages so far; what the two have in common stays.
     *
     * @param to    of the same model
     * @param flags llmgpu_chat_flags
     */
    void feed(session &to, std::uint32_t flags = LLMGPU_CHAT_ANSWER)
    {
        check(llmgpu_chat_feed(get(), to.get(), flags));
    }

private:
    int check(int rc) const { return detail::check(rc, rc < 0 ? llmgpu_chat_error(get()) : nullptr); }
};

/**
 * Joins tokens to text as they come, never giving half a character: llmgpu_decoder.
 *
 * @par Thread-safety: one thread at a time
 */
class decoder : public handle<llmgpu_decoder, llmgpu_decoder_free> {
public:
    /**
     * Begins a text.
     *
     * @param of    whose vocabulary is used
     * @param flags llmgpu_tokenize_flags
     */
    explicit decoder(const model &of, std::uint32_t flags = 0)
    {
        llmgpu_decoder *out;
        detail::check(llmgpu_decoder_create(&out, of.get(), flags));
        take(out);
    }

    /**
     * Adds a token.
     *
     * @param token an id of the vocabulary
     * @return the text that is now complete, valid until the next call
     */
    std::string_view push(std::int32_t token)
    {
        const char *text;
        std::size_t len;
        detail::check(llmgpu_decoder_push(get(), token, &text, &len));
        return std::string_view(text, len);
    }

    /** Begins a new text. @return U+FFFD for what was unfinished, valid until the next call */
    std::string_view finish()
    {
        const char *text;
        std::size_t len;
        detail::check(llmgpu_decoder_finish(get(), &text, &len));
        return std::string_view(text, len);
    }
};

} // namespace llmgpu

#endif
