/* SPDX-License-Identifier: MIT
 *
 * llmgpu.hpp on the CPU: what it adds to the C functions it calls. Those are tested elsewhere.
 */
#define LLMGPU_EXPERIMENTAL
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "llmgpu/llmgpu.hpp"
#include "llmgpu/train.hpp"

#define REQUIRE(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);                          \
            std::exit(1);                                                                                    \
        }                                                                                                    \
    } while (0)

using namespace std::chrono_literals;

static const std::string prompt = "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n";

// Handles have one owner each.
template <typename T> constexpr bool owns = std::is_nothrow_move_constructible_v<T> &&
                                            std::is_nothrow_move_assignable_v<T> && !std::is_copy_constructible_v<T> &&
                                            !std::is_copy_assignable_v<T>;
static_assert(owns<llmgpu::context> && owns<llmgpu::model> && owns<llmgpu::session> && owns<llmgpu::chat> &&
              owns<llmgpu::decoder> && owns<llmgpu::lora>);

/** The sentence with which something fails. */
template <typename F> static std::string fails(int code, F what)
{
    try {
        what();
    } catch (const llmgpu::error &error) {
        if (error.code() != code)
            std::fprintf(stderr, "%s: %s\n", llmgpu_status_name(error.code()), error.what());
        REQUIRE(error.code() == code);
        return error.what();
    }
    REQUIRE(!"it failed");
    return "";
}

static llmgpu::context open_cpu()
{
    llmgpu::context_params params;
    params.device = "cpu";
    return llmgpu::context(params);
}

static void feed(llmgpu::session &session)
{
    session.reset();
    session.feed_text(prompt, LLMGPU_TOKENIZE_PARSE_SPECIAL);
}

/** The same answer in all the ways to take it. */
static void test_answers(llmgpu::context &ctx, llmgpu::model &model)
{
    llmgpu::session session(model);
    feed(session);
    const std::string whole = session.generate();
    REQUIRE(whole.size() > 10);

    feed(session);
    std::string text;
    for (std::string_view piece : session.pieces())
        text += piece;
    REQUIRE(text == whole);

    feed(session);
    llmgpu::decoder decoder(model);
    text.clear();
    for (std::int32_t token : session.ids())
        if (!model.is_end(token))
            text += decoder.push(token);
    text += decoder.finish();
    REQUIRE(text == whole);

    feed(session);
    text.clear();
    std::string_view piece;
    for (llmgpu_next answer; (answer = session.next(piece)) != LLMGPU_DONE;) {
        if (answer == LLMGPU_TOKEN)
            text += piece;
        else
            ctx.step(1ms);
    }
    REQUIRE(text == whole);

    feed(session);
    auto range = session.ids(3);
    REQUIRE(std::distance(range.begin(), range.end()) == 3);
    REQUIRE(session.wait(0us)); // for nothing
    feed(session);
    session.pieces();
    REQUIRE(!session.wait(0us) && session.wait());
}

static void test_callbacks(llmgpu::model &model)
{
    llmgpu::session session(model);
    int calls = 0;
    feed(session);
    REQUIRE(!session.generate(64, [&](std::string_view) { return ++calls < 2; }));
    REQUIRE(calls == 2);
    feed(session);
    REQUIRE(session.generate(2, [&](std::string_view) { return true; }));

    struct unrelated {};
    bool thrown = false;
    feed(session);
    try {
        session.generate(64, [](std::string_view) { throw unrelated(); });
    } catch (const unrelated &) {
        thrown = true;
    }
    REQUIRE(thrown);
    session.cancel();
    fails(LLMGPU_E_CANCELLED, [&] { session.generate(4); });
}

static void test_buffers(llmgpu::model &model)
{
    // Longer than any first guess.
    const std::string text(5000, 'x');
    const llmgpu::tokens ids = model.tokenize(text);
    REQUIRE(model.detokenize(ids) == text);
    REQUIRE(model.tokenize("").empty() && model.detokenize({}).empty());

    llmgpu::chat chat(model);
    chat.add("user", text);
    REQUIRE(chat.count() == 1 && chat.render(LLMGPU_CHAT_FALLBACK).find(text) != std::string::npos);
    fails(LLMGPU_E_FORMAT, [&] { chat.add_json("{"); });

    llmgpu::session session(model);
    feed(session);
    session.prefill();
    const std::vector<std::uint8_t> state = session.save(LLMGPU_STATE_FULL);
    llmgpu::session other(model);
    other.restore(state);
    REQUIRE(other.history() == session.history() && !other.history().empty());
    REQUIRE(other.generate(16) == session.fork().generate(16));

    const llmgpu::tokens words = model.tokenize("The smith sells swords.");
    REQUIRE(session.embed(words).size() == model.info().n_embd);
    REQUIRE(session.embed(words, LLMGPU_POOLING_NONE).size() == model.info().n_embd * words.size());
    REQUIRE(session.score(words).size() == words.size() - 1);

    llmgpu::session_params params;
    params.n_candidates = 4;
    llmgpu::session told(model, params);
    feed(told);
    std::int32_t first = *told.ids(1).begin();
    const llmgpu::candidates candidates = told.get_candidates();
    REQUIRE(candidates.chosen.token == first && candidates.top.size() == 4 && candidates.top[0].token == first);
}

/** Each failure has the sentence of the handle that knows it. */
static void test_failures(llmgpu::context &ctx, llmgpu::model &model, const std::string &path)
{
    fails(LLMGPU_E_NO_DEVICE, [] {
        llmgpu::context_params params;
        params.device = "abacus";
        llmgpu::context none(params);
    });
    REQUIRE(fails(LLMGPU_E_IO, [&] { llmgpu::model none(ctx, "/nowhere.gguf"); }).find("/nowhere.gguf") != std::string::npos);
    REQUIRE(fails(LLMGPU_E_INVALID, [&] {
        llmgpu::session_params params;
        params.n_batch = 0;
        llmgpu::session none(model, params);
    }).find("batch") != std::string::npos);
    REQUIRE(fails(LLMGPU_E_INVALID, [&] { model.detokenize({-1}); }) == "LLMGPU_E_INVALID");
    REQUIRE(fails(LLMGPU_E_UNSUPPORTED, [&] { llmgpu::lora none(model, path); }).find("adapter") != std::string::npos);

    llmgpu::session session(model), moved(std::move(session));
    REQUIRE(session.get() == nullptr && moved.get() != nullptr);
    fails(LLMGPU_E_INVALID, [&] { session.reset(); });
    session = std::move(moved);
    session.set_deadline(1ms);
    std::this_thread::sleep_for(5ms);
    fails(LLMGPU_E_TIMEOUT, [&] {
        feed(session);
        session.generate(4);
    });
    session.set_deadline(0ms);
    feed(session);
    REQUIRE(session.generate(4).size() > 0);
}

/** Handles go in any order. */
static void test_order(const std::string &path)
{
    auto ctx = std::make_unique<llmgpu::context>(open_cpu());
    auto model = std::make_unique<llmgpu::model>(*ctx, path);
    llmgpu::session session(*model);
    ctx.reset();
    fails(LLMGPU_E_INVALID, [&] {
        llmgpu::session_params params;
        params.n_batch = 0;
        llmgpu::session none(*model, params);
    });
    model.reset();
    feed(session);
    REQUIRE(session.generate(4).size() > 0);
}

/** Learns a sentence, alone and beside a session, and merges what was learned into another file. */
static void test_training(llmgpu::context &ctx, llmgpu::model &model, const std::string &path)
{
    const std::string lines = "cpp-lines.tmp", adapter = "cpp-adapter.tmp", merged = "cpp-merged.tmp";
    FILE *file = std::fopen(lines.c_str(), "w");
    REQUIRE(file);
    for (int i = 0; i < 4; i++)
        std::fputs("{\"text\": \"The moon hums.\"}\n", file);
    std::fclose(file);
    llmgpu::dataset_params how;
    how.n_ctx = 16;
    how.n_passes = 1;
    llmgpu::dataset data(model, {lines}, how), validation = data.split(0.3);
    llmgpu_batch batch;
    REQUIRE(validation.next(batch) && !validation.next(batch));
    REQUIRE(data.next(batch) && data.stats().n_lines == 3);

    llmgpu::trainer_params params;
    params.max_rows = 16;
    params.rank = 2;
    params.lr = 1e-2f;
    llmgpu::trainer trainer(model, params);
    double before = trainer.evaluate(batch);
    for (int i = 0; i < 3; i++) {
        trainer.add(batch);
        REQUIRE(trainer.step().step == static_cast<std::uint64_t>(i));
    }
    trainer.add(batch);
    trainer.start(10);
    llmgpu_train_result result;
    REQUIRE(!trainer.poll(result));
    REQUIRE(fails(LLMGPU_E_INVALID, [&] { trainer.step(); }).find("started") != std::string::npos);
    while (!trainer.poll(result))
        ctx.step(2ms);
    REQUIRE(result.step == 3 && trainer.info().step == 4);
    REQUIRE(trainer.evaluate(batch) < before);
    trainer.save_checkpoint(lines, {1, 2, 3});
    REQUIRE((trainer.load_checkpoint(lines) == std::vector<std::uint8_t>{1, 2, 3}));
    trainer.save(adapter);
    llmgpu_merge_adapter with = {};
    with.path = adapter.c_str();
    with.scale = 1;
    llmgpu::merge(path, {with}, merged);
    llmgpu::model other(ctx, merged);
    REQUIRE(llmgpu::lora(model, adapter).info().rank == 2);
    REQUIRE(fails(LLMGPU_E_INVALID, [&] { llmgpu::quantize(path, merged, "Q4_99"); }).find("Q4_99") != std::string::npos);
    llmgpu::quantize(path, merged, "F16");
    for (const std::string &name : {lines, adapter, merged})
        std::remove(name.c_str());
}

int main(int argc, char **argv)
{
    REQUIRE(argc > 1);
    llmgpu::context ctx = open_cpu();
    llmgpu::model model(ctx, argv[1]);
    REQUIRE(!llmgpu::devices().empty() && std::string(ctx.device().id) == "cpu");
    REQUIRE(llmgpu::model::estimate(ctx, argv[1]).device_bytes > 0);
    test_answers(ctx, model);
    test_callbacks(model);
    test_buffers(model);
    test_failures(ctx, model, argv[1]);
    test_training(ctx, model, argv[1]);
    test_order(argv[1]);
}
