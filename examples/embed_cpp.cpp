/* SPDX-License-Identifier: MIT
 *
 * The library from C++: embed_cpp [MODEL] holds a short conversation, tells how close some sentences are to each other,
 * and shows what a failure looks like.
 */
#include <cstdio>
#include <iostream>
#include <numeric>
#include <string>
#include <vector>

#include <llmgpu/llmgpu.hpp>

static const char bundled[] = "examples/models/tavern-3.7m-q8_0.gguf";

// Each turn costs its own tokens only: feed() keeps what the session has of the conversation already.
static void converse(llmgpu::model &model)
{
    llmgpu::session session(model);
    llmgpu::chat chat(model);
    chat.add("system", "Your name is Brenna. You are the blacksmith of Oakford. You are grumpy.");
    for (const char *question : {"Who are you?", "What do you sell?"}) {
        chat.add("user", question);
        chat.feed(session, LLMGPU_CHAT_ANSWER | LLMGPU_CHAT_FALLBACK);
        std::cout << "> " << question << "\n";
        std::string answer;
        for (std::string_view piece : session.pieces(64)) {
            std::cout << piece << std::flush;
            answer += piece;
        }
        std::cout << "\n";
        chat.add("assistant", answer);
    }
    const llmgpu_session_stats stats = session.stats();
    std::cout << stats.n_prompt << " tokens in, " << stats.n_generated << " out\n";
}

// Vectors of length 1, whose inner product is the cosine of the angle between them.
static void compare(llmgpu::model &model)
{
    const std::vector<std::string> sentences = {
        "The smith sells swords.",
        "She forges blades in Oakford.",
        "It rains on the harbour.",
    };
    llmgpu::session session(model);
    std::vector<std::vector<float>> vectors;
    for (const std::string &sentence : sentences)
        vectors.push_back(session.embed(model.tokenize(sentence, LLMGPU_TOKENIZE_ADD_SPECIAL)));
    for (std::size_t i = 0; i < sentences.size(); i++) {
        for (const std::vector<float> &other : vectors)
            std::printf("%7.3f", std::inner_product(other.begin(), other.end(), vectors[i].begin(), 0.0));
        std::printf("  %s\n", sentences[i].c_str());
    }
}

// An exception carries the code, to be acted on, and the sentence, to be read.
static void fail(llmgpu::context &ctx)
{
    try {
        llmgpu::model missing(ctx, "no-such-file.gguf");
    } catch (const llmgpu::error &error) {
        std::cout << "caught " << llmgpu_status_name(error.code()) << ": " << error.what() << "\n";
    }
}

int main(int argc, char **argv)
{
    try {
        llmgpu::context ctx;
        llmgpu::model model(ctx, argc > 1 ? argv[1] : bundled);
        std::cout << model.info().name << " on " << ctx.device().name << std::endl;
        converse(model);
        compare(model);
        fail(ctx);
    } catch (const llmgpu::error &error) {
        std::cerr << llmgpu_status_name(error.code()) << ": " << error.what() << "\n";
        return 1;
    }
}
