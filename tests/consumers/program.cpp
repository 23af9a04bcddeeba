/* SPDX-License-Identifier: MIT
 *
 * A program of somebody else's: program MODEL prints a few words of it, computed on the CPU.
 */
#include <iostream>

#include <llmgpu/llmgpu.hpp>

int main(int argc, char **argv)
{
    try {
        llmgpu::context_params params;
        params.device = "cpu";
        llmgpu::context ctx(params);
        llmgpu::model model(ctx, argc > 1 ? argv[1] : "");
        llmgpu::session session(model);
        session.feed_text("<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
                          LLMGPU_TOKENIZE_PARSE_SPECIAL);
        for (std::string_view piece : session.pieces(12))
            std::cout << piece;
    } catch (const llmgpu::error &error) {
        std::cerr << llmgpu_status_name(error.code()) << ": " << error.what() << "\n";
        return 1;
    }
}
